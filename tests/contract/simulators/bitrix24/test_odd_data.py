"""Odd messages reach the client as odd as they are."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.contract.simulators.bitrix24.helpers import Json, Rest

from chatferry.simulators.bitrix24 import GeneratorSettings, OddData, generate, new_webhook, serve
from chatferry.simulators.bitrix24.writer import LONG_TEXT_CHARACTERS

ODD = OddData(5, 5, 2, 5, 5, 5, 5)


@pytest.fixture
async def messages() -> AsyncIterator[list[Json]]:
    """Every message of a portal with odd ones, read page by page, and every chat's recent row read once."""
    portal = generate(GeneratorSettings(seed=2, chats=6, messages=400, odd=ODD))
    new_webhook(portal, max(portal.users))
    async with serve(portal) as running, httpx.AsyncClient() as client:
        rest = Rest(client, running.webhook_url(max(portal.users)))
        found: list[Json] = []
        for chat in portal.chats.values():
            for cursor in [*chat.log.ids, chat.log.last_id + 1][len(chat.log) : 0 : -50]:
                params = {"DIALOG_ID": f"chat{chat.id}", "LIMIT": 50, "LAST_ID": cursor}
                found += json.loads((await rest.answer("im.dialog.messages.get", params)).content)["result"]["messages"]
            running.changes.post(chat.id, 1, "\ud800")
        recent = json.loads((await rest.answer("im.recent.list")).content)["result"]["items"]
        assert {row["message"]["text"] for row in recent} == {"\ud800"}
        yield found


async def test_all_of_them_arrive(messages: list[Json]) -> None:
    assert len(messages) == 400
    texts = [message["text"] for message in messages]
    assert sum("\ud83d and" in text for text in texts) == ODD.lone_surrogates
    assert sum("\x00" in text for text in texts) == ODD.control_characters
    assert sum(len(text) == LONG_TEXT_CHARACTERS for text in texts) == ODD.long_texts
    assert sum(len(message["date"]) == 19 for message in messages) == ODD.dates_without_offset
    assert sum(message["date"].startswith("2024-02-30") for message in messages) == ODD.impossible_dates
    assert sum("id" not in message for message in messages) == ODD.missing_ids
    assert sum("author_id" not in message for message in messages) == ODD.missing_authors
