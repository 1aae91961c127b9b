"""The worker that the streaming runtime drives: what waits goes on beside fresh records, and never in their way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from tests.unit.importer.fakes import FakeFamilies, FakeParked
from tests.unit.importer.machine import TOPICS, FakeRuntime, Machine, chat, message

from chatferry.common.contracts.target import ItemResult
from chatferry.common.entities import Entity
from chatferry.common.errors import OutageError
from chatferry.common.streaming.progress import Progress
from chatferry.importer.domain.records import ImportRecord, Line, place_of
from chatferry.importer.domain.standing import FamilyState
from chatferry.importer.handlers import ImportWorker
from chatferry.importer.lines import Lines
from chatferry.importer.sending import SendRules

WAITING = 600


async def _with_waiting(machine: Machine, chats: Sequence[int] = (1, 2, 3)) -> ImportWorker:
    """Messages of these chats that wait for them, and the chats delivered at last, in their order."""
    machine.store.families["chats"] = FamilyState(set_open=True, blocked=None)
    machine.at_once = WAITING
    for number in range(WAITING):
        of = chats[number % len(chats)]
        machine.publish("chat_messages", message(number * 100 + of, of))
    await machine.run(steps=1)
    assert len(machine.store.parked) == WAITING
    worker = ImportWorker(
        machine.importer, machine.caller, FakeFamilies(machine.store), FakeParked(machine.store), TOPICS
    )
    worker.run_on(machine.clock, machine.metrics, FakeRuntime())
    published = [machine.publish("chats", chat(number)) for number in chats]
    await worker.rebalanced(dict.fromkeys(machine.logs, 0))
    await worker.deliver(published, Progress(published))
    return worker


async def test_in_a_lull_between_fresh_records_few_of_those_that_wait_are_taken_up_at_a_time() -> None:
    machine = Machine()
    worker = await _with_waiting(machine)
    left = []
    for _ in range(3):
        machine.clock.seconds += 0.2
        await worker.idle()
        left.append(len(machine.store.parked))
    assert left == [500, 400, 300]


async def test_a_drain_ends_when_fresh_records_come_but_what_was_put_off_for_long_has_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine()
    worker = await _with_waiting(machine)
    runtime = FakeRuntime()
    worker.run_on(machine.clock, machine.metrics, runtime)
    machine.stopping = worker.hurried
    send = machine.target.send

    async def slow(entity: Entity, records: Sequence[ImportRecord]) -> list[ItemResult]:
        machine.clock.seconds += 0.06
        return await send(entity, records)

    monkeypatch.setattr(machine.target, "send", slow)
    runtime.fresh = True
    left = []
    for _ in range(8):
        machine.clock.seconds += 0.2
        await worker.idle()
        left.append(len(machine.store.parked))
    assert left == [585] * 5 + [570] * 3
    runtime.fresh = False
    while machine.store.parked:
        machine.clock.seconds += 0.2
        await worker.idle()
    assert [machine.applied(number) for number in (1, 2, 3)] == [
        [n * 100 + 1 + n % 3 for n in range(first, WAITING, 3)] for first in range(3)
    ]


async def test_between_two_pieces_of_fresh_records_what_waits_is_put_off_but_not_for_ever() -> None:
    machine = Machine()
    worker = await _with_waiting(machine)
    chats = [record for partition, log in machine.logs.items() if partition.topic == "p.chats" for record in log]
    left = []
    for _ in range(24):
        await worker.idle()
        left.append(len(machine.store.parked))
        machine.clock.seconds += 0.05
        await worker.deliver(chats, Progress(chats))
    assert left == [400] * 20 + [200] * 4


@pytest.mark.parametrize("chats", [(1, 2), (2, 1)])
async def test_what_waits_longest_goes_first_whatever_partition_it_is_of(chats: Sequence[int]) -> None:
    machine = Machine()
    worker = await _with_waiting(machine, chats)
    left = []
    for _ in chats:
        machine.clock.seconds += 0.2
        await worker.idle()
        left.append(Counter(row["record"].line.parent for row in machine.store.parked.values()))
    assert left == [{chats[0]: 200, chats[1]: 300}, {chats[0]: 200, chats[1]: 200}]


async def test_one_chat_of_which_much_waits_leaves_room_for_all_others() -> None:
    machine = Machine()
    worker = await _with_waiting(machine, (1,))
    # Of one partition with the long one, and of another: both are released after it, and have higher numbers.
    for number in (901, 902):
        waits = [machine.publish("chat_messages", message(number, number))]
        await worker.deliver(waits, Progress(waits))
    await worker.rebalanced(dict.fromkeys(machine.logs, 0))
    assert len(machine.store.parked) == WAITING + 2
    fresh = [machine.publish("chats", chat(number)) for number in (901, 902)]
    await worker.deliver(fresh, Progress(fresh))
    for _ in range(3):
        machine.clock.seconds += 0.2
        await worker.idle()
    left = Counter(row["record"].line.parent for row in machine.store.parked.values())
    assert left.keys() == {1}, "and not these as well"
    machine.clock.seconds += 3
    await worker.idle()
    assert not machine.store.parked


async def test_what_waits_for_a_family_that_is_closed_hides_nothing_of_one_that_is_open() -> None:
    lines = Lines()
    for number in range(600):
        lines.wait_until(Line("p.chat_messages", 0, number), 1.0)
        lines.wait_at_gate(Line("p.chat_messages", 1, number))
    lines.wait_until(Line("p.users", 0, 7), 1.0)
    lines.wait_at_gate(Line("p.users", 1, 8))
    assert lines.due(2.0, {"p.users"}, 500) == [Line("p.users", 0, 7)]
    assert lines.at_gate({"p.users"}, 500) == [Line("p.users", 1, 8)]


async def test_a_chat_to_be_tried_again_does_not_stand_behind_the_messages_that_wait_since_later() -> None:
    machine = Machine()
    worker = await _with_waiting(machine, (1, 2))
    late = machine.publish("chats", chat(3))
    machine.target.errors["source:chat:3"] = (1, True)
    await worker.deliver([late], Progress([late]))
    assert machine.store.parked[place_of(late)]["reason"] == "retry"
    machine.clock.seconds += 2.9
    for _ in range(3):
        await worker.idle()
    assert place_of(late) not in machine.store.parked
    assert len(machine.store.parked) > 0


async def test_once_nothing_fresh_comes_all_that_wait_go_on_at_once() -> None:
    machine = Machine()
    worker = await _with_waiting(machine)
    machine.clock.seconds += 3
    await worker.idle()
    assert not machine.store.parked


async def _cycle(machine: Machine, worker: ImportWorker, away: list[OutageError]) -> None:
    """As the runtime does it: what is away is asked for, then comes what waits, then what is fresh."""
    machine.clock.seconds += 1
    try:
        if away:
            await worker.probe(away[0])
            away.clear()
        await worker.idle()
    except OutageError as still:
        away[:] = [still]
        return
    fresh = [r for p, log in machine.logs.items() for r in log[machine.committed[p] : machine.committed[p] + 50]]
    progress = Progress(fresh)
    try:
        await worker.deliver(fresh, progress)
    except OutageError as gone:
        away[:] = [gone]
    finally:
        machine.committed.update(progress.committable())


@pytest.mark.parametrize("kind", ["items", "call"])
async def test_a_few_that_fail_hold_up_nobody_whom_the_target_takes(kind: str) -> None:
    machine = Machine(SendRules(lanes=4))
    machine.store.families["chats"] = FamilyState(set_open=True, blocked=None)
    chats = range(1, 61)
    for chat_id in chats:
        machine.publish("chats", chat(chat_id))
    await machine.run(20)
    worker = ImportWorker(
        machine.importer, machine.caller, FakeFamilies(machine.store), FakeParked(machine.store), TOPICS
    )
    worker.run_on(machine.clock, machine.metrics, FakeRuntime())
    await worker.rebalanced(dict(machine.committed))
    poisons = {f"source:chat:msg:{100 + chat_id}" for chat_id in range(1, 6)}
    if kind == "items":
        machine.target.errors = dict.fromkeys(poisons, (10_000, True))
    else:
        machine.target.poison = poisons
    away: list[OutageError] = []
    for chat_id in range(1, 6):
        machine.publish("chat_messages", message(100 + chat_id, chat_id))
        await _cycle(machine, worker, away)
    for chat_id in range(6, 61):
        machine.publish("chat_messages", message(100 + chat_id, chat_id))
    for _ in range(12):
        await _cycle(machine, worker, away)
    assert sum(document["status"] == "IMPORT_OK" for document in machine.store.documents.values()) == 60 + 55


async def test_a_long_line_has_its_turn_however_many_others_become_due() -> None:
    machine = Machine()
    worker = await _with_waiting(machine, (1,))
    left = []
    for round_ in range(12):
        machine.clock.seconds += 1.1
        others = [3 + 2 * (60 * round_ + number) for number in range(60)]
        waits = [machine.publish("chat_messages", message(n * 10_000 + c, c)) for c in others for n in range(4)]
        await worker.deliver(waits, Progress(waits))
        fresh = [machine.publish("chats", chat(number)) for number in others]
        await worker.deliver(fresh, Progress(fresh))
        await worker.idle()
        left.append(sum(row["record"].line.parent == 1 for row in machine.store.parked.values()))
    assert left[-1] == 0
