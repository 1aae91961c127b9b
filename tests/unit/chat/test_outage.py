"""What the target says of itself while its database is away."""

from __future__ import annotations

from typing import cast

import pytest

from chatferry.chat import app
from chatferry.chat.app import Target
from chatferry.chat.settings import ChatSettings
from chatferry.common.adapters.mongo import Database
from chatferry.common.errors import OutageError
from chatferry.common.service import Context
from chatferry.common.settings import load_settings


async def test_a_database_that_is_away_is_shown_as_an_outage_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATFERRY_MONGODB", "mongodb://127.0.0.1:1/")
    monkeypatch.setenv("CHATFERRY_CHAT_WEBHOOK_SECRET", "abcdefgh12345678")
    away = [True]

    async def look(database: object) -> None:
        if away[0]:
            raise OutageError("mongodb", "MongoDB does not answer")

    monkeypatch.setattr(app, "prepare", look)
    monkeypatch.setattr(app, "reachable", look)
    context, target = Context(), Target()

    def shown() -> float | None:
        return context.metrics.registry.get_sample_value("outage", {"part": "mongodb"})

    target.prepare(load_settings(ChatSettings))
    target.routes(context)
    try:
        for is_away in (True, False, True, False):
            away[0] = is_away
            await app._look(target._watch, cast("Database", None))
            assert shown() == float(is_away)
            assert ("mongodb" in context.health.ready()) is is_away
    finally:
        target._client.close()
