"""What two importers write about one record, one of them late."""

from __future__ import annotations

import pytest
from tests.unit.importer.machine import Machine, message

from chatferry.common.entities import ENTITIES
from chatferry.importer.domain.records import EXHAUSTED, place_of, read_record
from chatferry.importer.ports import Dead, Done

MESSAGES = ENTITIES["chat_messages"]


def _late() -> tuple[Machine, Done, Dead]:
    """A message that one importer has imported and another one has given up."""
    machine = Machine()
    machine.start()
    record = read_record(machine.publish("chat_messages", message(101, 1)), MESSAGES, "p")
    dead = Dead(record.raw, MESSAGES, record, EXHAUSTED, "target.LATER", "too often", 3)
    return machine, Done(record, "created", "t1", erred_before=True), dead


async def test_a_late_death_of_what_is_imported_leaves_no_living_dead_letter() -> None:
    machine, done, dead = _late()
    await machine.books.settle([done], None)
    await machine.books.settle_dead([dead])
    assert machine.store.dead[place_of(dead.raw)]["state"] == "superseded"
    assert machine.store.documents[done.record.key]["status"] == "IMPORT_OK"


async def test_a_success_after_the_death_ends_the_dead_letter() -> None:
    machine, done, dead = _late()
    await machine.books.settle_dead([dead])
    await machine.books.settle([done], None)
    assert machine.store.dead[place_of(dead.raw)]["state"] == "superseded"
    assert machine.store.documents[done.record.key]["status"] == "IMPORT_OK"


async def test_a_death_of_content_that_was_read_anew_by_then_holds_nobody() -> None:
    machine, _, dead = _late()
    machine.store.add("source:chat:msg:101", 2)
    await machine.books.settle_dead([dead])
    assert machine.store.dead[place_of(dead.raw)]["state"] == "superseded"
    assert machine.store.documents["source:chat:msg:101"]["status"] == "NEW"


@pytest.mark.parametrize("known", [True, False])
async def test_a_death_in_time_lives(known: bool) -> None:
    machine, _, dead = _late()
    if not known:
        machine.store.documents.clear()
    await machine.books.settle_dead([dead])
    assert machine.store.dead[place_of(dead.raw)]["state"] == "dead"
