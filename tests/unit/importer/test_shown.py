"""What an importer shows on /metrics before anything has happened, and once a family was stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from tests.unit.importer.fakes import FakeFamilies
from tests.unit.importer.machine import TOPICS, FakeRuntime, Machine

from chatferry.common.adapters.mongo import Database
from chatferry.common.entities import ENTITIES
from chatferry.common.errors import OutageError
from chatferry.common.service import Context
from chatferry.importer import app
from chatferry.importer.domain.standing import FamilyState
from chatferry.importer.handlers import ImportWorker
from chatferry.importer.limit import PART, DeadRules
from chatferry.importer.ports import Events
from chatferry.importer.sending import SendRules


def _built(machine: Machine, context: Context, monkeypatch: pytest.MonkeyPatch) -> ImportWorker:
    families = FakeFamilies(machine.store)
    monkeypatch.setattr(app, "MongoFamilies", lambda _database: families)
    for name in ("MongoRecords", "MongoParked", "MongoDeadLetters", "MongoIds"):
        monkeypatch.setattr(app, name, lambda *_: object())
    outside = app.Outside(cast("Database", None), machine.target, cast("Events", None))
    worker = app.build_worker("demo", TOPICS, outside, SendRules(dead=DeadRules()), context)
    worker.run_on(context.clock, context.metrics, FakeRuntime())
    return worker


@pytest.mark.parametrize("name", ["records_import_ok_total", "records_import_err_total"])
def test_counters_are_shown_before_the_first_record_has_ended(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context()
    _built(Machine(), context, monkeypatch)
    for entity in ENTITIES:
        assert context.metrics.registry.get_sample_value(name, {"entity": entity}) == 0


async def test_delivery_that_was_stopped_is_shown_until_it_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, context = Machine(), Context()
    store, worker = machine.store, _built(machine, context, monkeypatch)

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
