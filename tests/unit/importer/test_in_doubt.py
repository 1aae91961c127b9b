"""What is not this importer's to see at once: another one's parking, newer content, an outage behind the target."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.unit.importer.fakes import FakeDeadLetters, FakeParked
from tests.unit.importer.machine import TOPICS, Machine, chat, message

from chatferry.common.contracts.target import ItemResult
from chatferry.common.entities import Entity
from chatferry.importer.domain.records import PERMANENT, ImportRecord, place_of, read_record
from chatferry.importer.ports import Dead, Trouble
from chatferry.importer.sending import SendRules


async def test_nothing_passes_a_refused_message_where_that_is_not_allowed() -> None:
    machine = Machine(SendRules(lanes=2, may_pass_dead=False))
    machine.publish_chat(1, 3)
    machine.target.errors = {"source:chat:msg:101": (99, False)}
    await machine.run(10)
    assert machine.applied(1) == []
    assert len(machine.store.parked) == 2


async def test_older_content_that_fails_for_ever_ends_and_lets_the_newer_content_through() -> None:
    machine = Machine()
    machine.publish_chat(1, 1)
    machine.target.errors = {"source:chat:msg:101": (4, True)}
    machine.store.add("source:chat:msg:101", 2)
    await machine.run(30)
    [row] = machine.store.dead.values()
    assert (row["dead"].attempts, row["state"]) == (3, "superseded")
    assert machine.store.parked == {}
    machine.publish("chat_messages", message(101, 1, "edited"), version=2)
    await machine.go_on(10)
    assert machine.store.documents["source:chat:msg:101"]["imported_version"] == 2


async def test_a_record_that_somebody_else_has_parked_meanwhile_is_not_overtaken() -> None:
    machine = Machine()
    machine.publish("chats", chat(1))
    await machine.run(3)
    first = machine.publish("chat_messages", message(101, 1))
    machine.publish("chat_messages", message(201, 1))
    machine.target.away = Trouble.SHAKY
    await machine.go_on(1)
    late = read_record(first, TOPICS[first.topic], "p")
    await FakeParked(machine.store).park([(late, "parent", None)])
    machine.target.away = None
    await machine.go_on(5)
    assert machine.applied(1) == [101, 201]
    assert machine.store.parked == {}


async def test_a_dead_letter_whose_row_was_written_late_gets_its_copy_and_its_status() -> None:
    machine = Machine()
    machine.publish_chat(1, 1)
    await machine.run(3)
    raw = machine.publish("chat_messages", message(201, 1))
    machine.target.away = Trouble.SHAKY
    await machine.go_on(1)
    late = read_record(raw, TOPICS[raw.topic], "p")
    dead = Dead(raw, late.entity, late, PERMANENT, "target.NO", "refused", 1)
    await FakeDeadLetters(machine.store).open([dead])
    machine.importer._cut_off = False
    machine.target.away = None
    await machine.go_on(3)
    assert machine.store.dead[place_of(raw)]["copied"]
    assert machine.store.documents[late.key]["status"] == "IMPORT_ERR"


async def test_a_dead_letter_that_a_zombie_opened_after_the_import_is_copied_and_withdrawn() -> None:
    machine = Machine()
    machine.publish("chats", chat(1))
    raw = machine.publish("chat_messages", message(101, 1))
    await machine.run(5)
    late = read_record(raw, TOPICS[raw.topic], "p")
    await FakeDeadLetters(machine.store).open([Dead(raw, late.entity, late, PERMANENT, "target.NO", "refused", 1)])
    await machine.importer.reload_lines()
    await machine.go_on(1)
    row = machine.store.dead[place_of(raw)]
    assert (row["copied"], row["state"]) == (True, "superseded")
    assert machine.store.documents[late.key]["status"] == "IMPORT_OK"


async def test_a_record_that_is_refused_and_then_taken_in_one_round_leaves_no_dead_letter_behind() -> None:
    machine = Machine(SendRules(lanes=1, batch_items={"chat_messages": 1}))
    machine.publish_chat(1, 1)
    machine.publish("chat_messages", message(101, 1))
    machine.target.errors = {"source:chat:msg:101": (1, False)}
    send = machine.target.send

    async def slow(entity: Entity, records: Sequence[ImportRecord]) -> list[ItemResult]:
        for _ in range(50):
            # Meanwhile the death before is written down.
            await asyncio.sleep(0)
        return await send(entity, records)

    machine.target.send = slow  # type: ignore[method-assign]
    await machine.run(5)
    assert machine.store.documents["source:chat:msg:101"]["status"] == "IMPORT_OK"
    assert [row["state"] for row in machine.store.dead.values()] == ["superseded"]


async def test_two_versions_of_one_record_that_fails_are_one_record_and_no_outage() -> None:
    machine = Machine()
    machine.target.holds = False
    machine.target.errors = {"source:chat:1": (99, True)}
    machine.publish("chats", chat(1))
    machine.publish("chats", chat(1, "renamed"), version=2)
    await machine.run(30)
    assert machine.outages == []
    assert machine.store.documents["source:chat:1"]["status"] == "IMPORT_ERR"
    assert machine.store.parked == {}


async def test_a_lone_message_is_not_blamed_where_the_target_takes_not_even_its_chat_again() -> None:
    machine = Machine()
    machine.publish("chats", chat(1))
    await machine.run(3)
    machine.target.errors = {"source:chat:1": (99, True), "source:chat:msg:101": (99, True)}
    machine.publish("chat_messages", message(101, 1))
    await machine.go_on(20)
    assert machine.store.dead == {}
    assert machine.store.documents["source:chat:msg:101"]["status"] == "NEW"
    assert {away.part for away in machine.outages} == {"target"}
    machine.target.errors = {}
    await machine.go_on(5)
    assert machine.applied(1) == [101]
