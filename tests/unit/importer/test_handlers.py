"""The worker that the streaming runtime drives: what waits goes on beside fresh records, and never in their way."""

from __future__ import annotations

from tests.unit.importer.fakes import FakeFamilies, FakeParked
from tests.unit.importer.machine import TOPICS, Machine, chat, message

from chatferry.common.streaming.progress import Progress
from chatferry.importer.domain.standing import FamilyState
from chatferry.importer.handlers import ImportWorker

WAITING = 600


async def _with_waiting(machine: Machine) -> ImportWorker:
    """Messages of three chats that wait for them, and the chats published at last."""
    machine.store.families["chats"] = FamilyState(set_open=True, blocked=None)
    machine.at_once = WAITING
    for number in range(WAITING):
        machine.publish("chat_messages", message(number * 100 + number % 3 + 1, number % 3 + 1))
    await machine.run(steps=1)
    assert len(machine.store.parked) == WAITING
    for number in (1, 2, 3):
        machine.publish("chats", chat(number))
    worker = ImportWorker(
        machine.importer, machine.caller, FakeFamilies(machine.store), FakeParked(machine.store), TOPICS
    )
    worker.run_on(machine.clock, machine.metrics, lambda _: None)
    await worker.rebalanced(dict.fromkeys(machine.logs, 0))
    chats = [record for partition, log in machine.logs.items() if partition.topic == "p.chats" for record in log]
    await worker.deliver(chats, Progress(chats))
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


async def test_once_nothing_fresh_comes_all_that_wait_go_on_at_once() -> None:
    machine = Machine()
    worker = await _with_waiting(machine)
    machine.clock.seconds += 3
    await worker.idle()
    assert not machine.store.parked
