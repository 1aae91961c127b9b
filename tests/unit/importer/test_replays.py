"""What becomes of a dead letter once its replay has ended."""

from __future__ import annotations

from tests.unit.importer.machine import COMMON, Machine, chat, message

from chatferry.common.contracts.envelope import REPLAY_OF, record_headers
from chatferry.importer.domain.records import place_of


async def test_the_replay_of_a_record_that_still_cannot_be_read_ends_the_first_dead_letter() -> None:
    machine = Machine()
    headers = record_headers("source:chat:msg:101", 1, "chat_messages.extracted", common=COMMON)
    first = machine.append("chat_messages", 1, b"{cut", headers)
    await machine.run(3)
    machine.store.dead[place_of(first)]["state"] = "replaying"
    again = machine.append("chat_messages", 1, b"{cut", (*headers, (REPLAY_OF, place_of(first).encode())))
    await machine.go_on(3)
    states = {place: row["state"] for place, row in machine.store.dead.items()}
    assert states == {place_of(first): "replayed", place_of(again): "dead"}


async def test_the_replay_of_a_record_without_headers_ends_the_first_dead_letter() -> None:
    machine = Machine()
    first = machine.append("chats", 1, b"{}", ())
    await machine.run(3)
    machine.store.dead[place_of(first)]["state"] = "replaying"
    again = machine.append("chats", 1, b"{}", ((REPLAY_OF, place_of(first).encode()),))
    await machine.go_on(3)
    states = {place: row["state"] for place, row in machine.store.dead.items()}
    assert states == {place_of(first): "replayed", place_of(again): "dead"}


async def test_a_replay_that_arrives_ends_its_dead_letter_and_a_second_copy_changes_nothing() -> None:
    machine = Machine()
    machine.target.errors = {"source:chat:msg:101": (1, False)}
    machine.publish("chats", chat(1))
    first = machine.publish("chat_messages", message(101, 1))
    await machine.run(3)
    machine.store.documents["source:chat:msg:101"]["status"] = "NEW"
    machine.store.dead[place_of(first)]["state"] = "replaying"
    for _ in range(2):
        machine.publish("chat_messages", message(101, 1), replay_of=place_of(first))
        await machine.go_on(3)
    assert {place: row["state"] for place, row in machine.store.dead.items()} == {place_of(first): "replayed"}
    assert machine.applied(1) == [101]
