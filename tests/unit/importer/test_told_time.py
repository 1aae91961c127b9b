"""A refusal that tells a time is a pause first; the same one for the same records, round after round, is about them."""

from __future__ import annotations

import pytest
from tests.unit.importer.machine import Machine, chat, message

from chatferry.importer.ports import Trouble
from chatferry.importer.sending import SendRules

_MSG = "source:chat:msg:"


def _machine(told_s: float = 1.5) -> Machine:
    machine = Machine(SendRules(lanes=2))
    machine.at_once = 200
    machine.target.told_s = told_s
    return machine


def _publish(machine: Machine, chats: range, messages: range) -> None:
    for chat_id in chats:
        if messages.start == 1:
            machine.publish("chats", chat(chat_id))
        for index in messages:
            machine.publish("chat_messages", message(index * 100 + chat_id, chat_id))


async def test_a_poison_among_good_records_dies_alone_though_its_refusal_names_a_time() -> None:
    machine = _machine()
    _publish(machine, range(1, 21), range(1, 6))
    machine.target.poison = {f"{_MSG}307"}
    await machine.run(80)
    [row] = machine.store.dead.values()
    assert (row["dead"].record.key, row["dead"].error_class, row["dead"].code) == (
        f"{_MSG}307",
        "exhausted",
        "target.http_500",
    )
    for chat_id in range(1, 21):
        wanted = [101, 201] if chat_id == 7 else [100, 200, 300, 400, 500]
        assert machine.applied(chat_id) == ([107, 207] if chat_id == 7 else [n + chat_id for n in wanted])
    assert {d["status"] for key, d in machine.store.documents.items() if not key.endswith("07")} == {"IMPORT_OK"}


async def test_what_has_died_is_suspected_no_more() -> None:
    machine = _machine()
    _publish(machine, range(1, 21), range(1, 6))
    machine.target.poison = {f"{_MSG}507"}
    await machine.run(80)
    assert len(machine.store.dead) == 1
    calls = len(machine.target.calls)
    await machine.caller.recheck()
    assert len(machine.target.calls) == calls, "no record has to show that the target takes records"


async def test_a_poison_with_nothing_beside_it_is_an_outage_until_something_else_is_written() -> None:
    machine = _machine()
    _publish(machine, range(1, 2), range(1, 2))
    await machine.run(5)
    machine.target.poison = {f"{_MSG}201"}
    _publish(machine, range(1, 2), range(2, 3))
    await machine.go_on(120)
    assert machine.store.dead == {}, "nothing shows that the target writes"
    _publish(machine, range(2, 6), range(1, 4))
    await machine.go_on(60)
    assert [row["dead"].record.key for row in machine.store.dead.values()] == [f"{_MSG}201"]


@pytest.mark.parametrize("chats", [1, 20, 60])
async def test_a_target_that_reads_but_cannot_write_and_names_a_time_burns_no_record(chats: int) -> None:
    machine = _machine()
    _publish(machine, range(1, chats + 1), range(1, 3))
    await machine.run(60)
    taken = set(machine.store.documents)
    _publish(machine, range(1, chats + 1), range(3, 5))
    machine.target.poison = set(machine.store.documents) - taken
    await machine.go_on(400)
    assert machine.store.dead == {}
    machine.target.poison = set()
    await machine.go_on(100)
    assert {d["status"] for d in machine.store.documents.values()} == {"IMPORT_OK"}


@pytest.mark.parametrize("told_s", [1.5, 10.0])
async def test_a_target_that_is_away_with_a_time_burns_no_record(told_s: float) -> None:
    machine = _machine(told_s)
    _publish(machine, range(1, 8), range(1, 3))
    await machine.run(3)
    _publish(machine, range(1, 8), range(3, 6))
    machine.target.poison = set(machine.store.documents)
    # What the target took before is refused as well: it is the target, and not these records.
    await machine.go_on(100)
    assert machine.store.dead == {}
    assert {away.part for away in machine.outages} == {"target"}
    machine.target.poison = set()
    await machine.go_on(30)
    assert {d["status"] for d in machine.store.documents.values()} == {"IMPORT_OK"}


async def test_rounds_before_an_outage_that_the_probe_saw_do_not_count() -> None:
    machine = _machine()
    _publish(machine, range(1, 2), range(1, 2))
    await machine.run(3)
    machine.target.poison = {f"{_MSG}201"}
    _publish(machine, range(1, 2), range(2, 3))
    for _ in range(8):
        await machine.go_on(4)
        machine.target.away = Trouble.SHAKY
        await machine.go_on(2)
        machine.target.away = None
    assert machine.store.dead == {}
    assert machine.store.documents[f"{_MSG}201"].get("attempts", 0) == 0


async def test_two_poisons_die_though_one_of_them_names_a_time_and_so_silences_the_probe_of_the_other() -> None:
    machine = _machine()
    _publish(machine, range(1, 21), range(1, 6))
    machine.target.poison = {f"{_MSG}307", f"{_MSG}312"}
    machine.target.untold = {f"{_MSG}312"}
    await machine.run(300)
    assert {row["dead"].record.key for row in machine.store.dead.values()} == machine.target.poison
