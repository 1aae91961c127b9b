"""Children of a parent that an operator has discarded end with it; they wait for nobody."""

from __future__ import annotations

import pytest
from tests.unit.importer.machine import Machine, chat, message

from chatferry.common.documents import PARENT_DISCARDED
from chatferry.importer.domain.records import place_of


def _discard(machine: Machine, key: str) -> None:
    machine.store.documents[key].update(status="SKIPPED", skip_reason="discarded: not ours")
    for row in machine.store.dead.values():
        if row["dead"].record.key == key:
            row["state"] = "discarded"


def _with_dead_chat() -> Machine:
    machine = Machine()
    machine.target.errors = {"source:chat:1": (99, False)}
    for chat_id in (1, 2):
        machine.publish("chats", chat(chat_id))
        for index in range(1, 6):
            machine.publish("chat_messages", message(index * 100 + chat_id, chat_id))
    return machine


def _skipped(machine: Machine) -> dict[str, str]:
    return {key: d["skip_reason"] for key, d in machine.store.documents.items() if d["status"] == "SKIPPED"}


async def test_parked_children_are_skipped_with_the_reason_and_later_ones_too() -> None:
    machine = _with_dead_chat()
    await machine.run(5)
    assert len(machine.store.parked) == 5
    _discard(machine, "source:chat:1")
    await machine.go_on(5)
    machine.publish("chat_messages", message(601, 1))
    await machine.go_on(5)
    children = {f"source:chat:msg:{index}01" for index in range(1, 7)}
    assert _skipped(machine) == {"source:chat:1": "discarded: not ours"} | dict.fromkeys(children, PARENT_DISCARDED)
    assert machine.store.parked == {}
    assert machine.applied(1) == []
    assert machine.applied(2) == [102, 202, 302, 402, 502]
    assert {p: machine.committed[p] for p in machine.logs} == {p: len(log) for p, log in machine.logs.items()}


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("crash_at", range(3))
async def test_a_crash_while_they_are_set_aside_changes_nothing(crash_at: int, after: bool) -> None:
    machine = _with_dead_chat()
    await machine.run(5)
    _discard(machine, "source:chat:1")
    machine.faults.crash_at, machine.faults.after = len(machine.faults.seen) + crash_at, after
    machine.publish("chat_messages", message(601, 1))
    assert await machine.go_on(10) == 1
    assert len(_skipped(machine)) == 7
    assert machine.store.parked == {}


async def test_new_content_of_the_parent_lets_its_later_children_go() -> None:
    machine = _with_dead_chat()
    await machine.run(5)
    _discard(machine, "source:chat:1")
    machine.target.errors = {}
    machine.publish("chats", chat(1, "renamed"), version=2)
    machine.publish("chat_messages", message(601, 1))
    await machine.go_on(8)
    assert 601 in machine.applied(1)


async def test_a_discarded_newer_version_of_a_parent_that_is_there_holds_nothing_back() -> None:
    machine = Machine()
    machine.publish("chats", chat(1))
    await machine.run(3)
    machine.target.errors = {"source:chat:1": (99, False)}
    machine.publish("chats", chat(1, "renamed"), version=2)
    await machine.go_on(3)
    _discard(machine, "source:chat:1")
    machine.publish("chat_messages", message(101, 1))
    await machine.go_on(3)
    assert machine.applied(1) == [101]


async def test_a_replay_that_waited_for_the_discarded_parent_is_given_up_with_it() -> None:
    machine = _with_dead_chat()
    broken = machine.append("chat_messages", 1, b"{cut", ())
    await machine.run(5)
    good = machine.publish("chat_messages", message(101, 1), replay_of=place_of(broken))
    machine.store.dead[place_of(broken)]["state"] = "replaying"
    await machine.go_on(3)
    assert place_of(good) in machine.store.parked
    machine.store.documents["source:chat:1"].update(status="SKIPPED", skip_reason="discarded: not ours")
    await machine.go_on(5)
    assert machine.store.dead[place_of(broken)]["state"] == "discarded"
