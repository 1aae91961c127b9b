"""An outage of the target, what is behind it, or records that it cannot take: they are told apart."""

from __future__ import annotations

import pytest
from tests.unit.importer.machine import Machine, chat, message

from chatferry.importer.ports import Trouble
from chatferry.importer.sending import SendRules


async def test_an_outage_leaves_every_record_as_it_was() -> None:
    machine = Machine()
    machine.publish_chat(1, 10)
    for trouble in (Trouble.SHAKY, Trouble.THROTTLED, Trouble.DENIED):
        machine.target.away = trouble
        await machine.run(5)
        assert {d["status"] for d in machine.store.documents.values()} == {"NEW"}
        assert sum(machine.committed.values()) == 0
        assert {away.part for away in machine.outages} == {"target"}
    machine.target.away = None
    await machine.run(10)
    assert {d["status"] for d in machine.store.documents.values()} == {"IMPORT_OK"}
    assert machine.store.dead == {}


async def test_a_denied_call_blocks_the_family_and_a_good_probe_frees_it() -> None:
    machine = Machine()
    machine.publish_chat(1, 1)
    machine.target.away = Trouble.DENIED
    await machine.run(2)
    assert machine.store.families["chats"].blocked == "away"
    machine.target.away = None
    await machine.caller.recheck()
    assert machine.store.families["chats"].blocked is None


async def test_two_poisons_alone_in_their_chats_die_and_do_not_look_like_an_outage() -> None:
    machine = Machine()
    machine.publish_chat(1, 3)
    machine.publish_chat(2, 3)
    machine.target.errors = {"source:chat:msg:101": (99, True), "source:chat:msg:102": (99, True)}
    await machine.run(30)
    assert machine.store.documents["source:chat:msg:101"]["status"] == "IMPORT_ERR"
    assert machine.store.documents["source:chat:msg:102"]["status"] == "IMPORT_ERR"
    assert len(machine.store.dead) == 2
    assert 101 not in machine.applied(1)
    assert 102 not in machine.applied(2)


@pytest.mark.parametrize("kind", ["items", "call"])
@pytest.mark.parametrize("chats", [range(1, 6), range(1, 21), range(1, 71)], ids=["5", "20", "70"])
async def test_a_target_that_reads_but_cannot_write_burns_no_record(chats: range, kind: str) -> None:
    machine = Machine(SendRules(lanes=2))
    machine.at_once = 200
    for chat_id in chats:
        machine.publish_chat(chat_id, 1)
    await machine.run(5)
    machine.target.unwritable = kind
    for index in (2, 3, 4):
        for chat_id in chats:
            machine.publish("chat_messages", message(index * 100 + chat_id, chat_id))
    await machine.run(60)
    assert machine.store.dead == {}
    assert {away.part for away in machine.outages} == {"target"}
    machine.target.unwritable = None
    await machine.run(30)
    assert {d["status"] for d in machine.store.documents.values()} == {"IMPORT_OK"}
    assert all(machine.applied(chat_id) == [index * 100 + chat_id for index in (1, 2, 3, 4)] for chat_id in chats)


@pytest.mark.parametrize("kind", ["items", "call"])
async def test_many_poisons_among_good_records_die_and_do_not_look_like_an_outage(kind: str) -> None:
    machine = Machine(SendRules(lanes=2))
    machine.at_once = 100
    poisons = {f"source:chat:msg:{200 + chat_id}" for chat_id in range(1, 31)}
    if kind == "items":
        machine.target.errors = dict.fromkeys(poisons, (99, True))
    else:
        machine.target.poison = poisons
    for chat_id in range(1, 71):
        machine.publish_chat(chat_id, 2)
    await machine.run(60)
    assert len(machine.store.dead) == 30
    assert sum(d["status"] == "IMPORT_OK" for d in machine.store.documents.values()) == 70 * 3 - 30


@pytest.mark.parametrize("kind", ["items", "call"])
async def test_a_target_that_cannot_write_from_the_beginning_burns_no_chat_of_a_few(kind: str) -> None:
    machine = Machine(SendRules(lanes=2))
    machine.target.unwritable = kind
    for chat_id in range(1, 21):
        machine.publish_chat(chat_id, 2)
    await machine.run(1)
    began = machine.clock.seconds
    while machine.clock.seconds < began + 500:
        await machine.go_on(1)
    assert machine.store.dead == {}
    machine.target.unwritable = None
    await machine.go_on(60)
    assert {d["status"] for d in machine.store.documents.values()} == {"IMPORT_OK"}


@pytest.mark.parametrize("kind", ["items", "call"])
async def test_a_handful_of_poisons_before_all_others_does_not_stop_them_for_good(kind: str) -> None:
    machine = Machine(SendRules(lanes=2))
    poisons = {f"source:chat:msg:{100 + chat_id}" for chat_id in range(1, 9)}
    if kind == "items":
        machine.target.errors = dict.fromkeys(poisons, (10_000, True))
    else:
        machine.target.poison = poisons
    for chat_id in range(1, 41):
        machine.publish("chats", chat(chat_id))
    await machine.run(30)
    for chat_id in range(1, 41):
        machine.publish("chat_messages", message(100 + chat_id, chat_id))
    await machine.go_on(900)
    assert {row["dead"].record.key for row in machine.store.dead.values()} == poisons
    assert sum(d["status"] == "IMPORT_OK" for d in machine.store.documents.values()) == 2 * 40 - len(poisons)


async def test_a_batch_that_fails_while_the_target_is_well_is_bisected_in_order() -> None:
    machine = Machine(SendRules(lanes=1, batch_items={"chat_messages": 8}))
    machine.at_once = 20
    machine.publish_chat(2, 8)
    machine.target.poison = {"source:chat:msg:502"}
    await machine.run(30)
    assert machine.applied(2) == [102, 202, 302, 402]
    [row] = machine.store.dead.values()
    assert (row["dead"].attempts, row["dead"].code) == (3, "target.http_500")


@pytest.mark.parametrize("few", [5, 8])
async def test_a_restart_while_the_target_cannot_write_burns_none_of_a_few(few: int) -> None:
    machine = Machine(SendRules(lanes=4))
    machine.at_once = 200
    for chat_id in range(1, few + 1):
        machine.publish_chat(chat_id, 1)
    await machine.run(10)
    machine.target.unwritable = "call"
    for chat_id in range(1, few + 1):
        machine.publish("chat_messages", message(200 + chat_id, chat_id))
    await machine.go_on(3)
    await machine.run(60)
    assert machine.store.dead == {}
    machine.target.unwritable = None
    await machine.go_on(30)
    assert {d["status"] for d in machine.store.documents.values()} == {"IMPORT_OK"}
