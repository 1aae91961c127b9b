"""Topics that were made anew while the database was kept: a new record at an old one's place is a record of its own."""

from __future__ import annotations

import pytest
from tests.unit.importer.machine import Machine, chat, message

from chatferry.importer.domain.records import place_of

_DEAD, _NEW = "source:chat:msg:101", "source:chat:msg:201"


async def _with_letter(state: str) -> tuple[Machine, str]:
    machine = Machine()
    machine.publish("chats", chat(1))
    machine.target.errors = {_DEAD: (1, False)}
    first = machine.publish("chat_messages", message(101, 1))
    await machine.run(5)
    machine.store.dead[place_of(first)]["state"] = state
    machine.make_topics_anew()
    return machine, place_of(first)


@pytest.mark.parametrize("state", ["dead", "replayed", "superseded", "discarded"])
async def test_a_new_record_at_the_place_of_an_old_letter_arrives(state: str) -> None:
    machine, place = await _with_letter(state)
    assert place_of(machine.publish("chat_messages", message(201, 1))) == place
    await machine.run(5)
    assert machine.store.documents[_NEW]["status"] == "IMPORT_OK"
    assert machine.applied(1) == [201]
    assert machine.store.dead[place]["state"] == state


async def test_a_new_record_that_dies_at_the_place_of_an_old_letter_has_a_letter_of_its_own() -> None:
    machine, place = await _with_letter("replayed")
    machine.target.errors = {_NEW: (9, False)}
    machine.publish("chat_messages", message(201, 1))
    await machine.run(5)
    letters = {row["dead"].record.key: (row["state"], row["copied"]) for row in machine.store.dead.values()}
    assert letters == {_DEAD: ("replayed", True), _NEW: ("dead", True)}
    assert machine.store.dead[place]["dead"].record.key == _NEW
    assert machine.store.documents[_NEW]["status"] == "IMPORT_ERR"


@pytest.mark.parametrize("crash", [True, False])
async def test_neither_of_two_that_wait_at_one_place_is_lost(crash: bool) -> None:
    machine = Machine()
    old = machine.publish("chat_messages", message(101, 1))
    await machine.run(3)
    assert list(machine.store.parked) == [place_of(old)]
    machine.make_topics_anew()
    new = machine.publish("chat_messages", message(201, 1))
    assert place_of(new) == place_of(old)
    if crash:
        machine.faults.crash_at, machine.faults.after = len(machine.faults.seen), True
    await machine.run(4)
    assert sorted(row["record"].key for row in machine.store.parked.values()) == [_DEAD, _NEW]
    machine.publish("chats", chat(1))
    await machine.go_on(5)
    assert machine.applied(1) == [101, 201]
    assert machine.store.parked == {}


async def test_the_same_record_published_again_at_its_old_place_arrives() -> None:
    machine, place = await _with_letter("superseded")
    machine.store.documents[_DEAD]["status"] = "NEW"
    assert place_of(machine.publish("chat_messages", message(101, 1))) == place
    await machine.run(5)
    assert machine.store.documents[_DEAD]["status"] == "IMPORT_OK"
