"""A family that was stopped for its dead letters shows as an outage until a person has said that it goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from tests.unit.importer.fakes import FakeFamilies
from tests.unit.importer.machine import TOPICS, FakeRuntime, Machine

from chatferry.common.adapters.mongo import Database
from chatferry.common.errors import OutageError
from chatferry.common.service import Context
from chatferry.importer import app
from chatferry.importer.domain.standing import FamilyState
from chatferry.importer.limit import PART, DeadRules
from chatferry.importer.ports import Events
from chatferry.importer.sending import SendRules


async def test_delivery_that_was_stopped_is_shown_until_it_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, context = Machine(), Context()
    store, families = machine.store, FakeFamilies(machine.store)
    monkeypatch.setattr(app, "MongoFamilies", lambda _database: families)
    for name in ("MongoRecords", "MongoParked", "MongoDeadLetters", "MongoIds"):
        monkeypatch.setattr(app, name, lambda *_: object())
    outside = app.Outside(cast("Database", None), machine.target, cast("Events", None))
    worker = app.build_worker("demo", TOPICS, outside, SendRules(dead=DeadRules()), context)
    worker.run_on(context.clock, context.metrics, FakeRuntime())

    def shown() -> float | None:
        return context.metrics.registry.get_sample_value("outage", {"part": PART})

    assert shown() == 0
    store.families["chats"] = FamilyState(set_open=True, blocked=None, halted="too many have died")
    await worker.probe(OutageError(PART, "too many have died"))
    assert shown() == 1
    # What told of it in the first place is over with the first probe; the family is not.
    context.health.outage(PART, None)
    assert shown() == 1
    store.families["chats"] = replace(store.families["chats"], halted=None)
    await worker.probe(OutageError(PART, "too many have died"))
    assert shown() == 0
