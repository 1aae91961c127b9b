"""What the work in hand is told of what waits for its end: a rebalance, or fresh records."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

from faststream.kafka import KafkaBroker
from tests.unit.common.streaming.streaming_fakes import FakeBroker, FakeWorker, ManualClock, record

from chatferry.common.health import Health
from chatferry.common.streaming.consumer import ConsumerSettings, RecordConsumer
from chatferry.common.streaming.records import Partition

HERE, THERE = Partition("t", 0), Partition("t", 1)


class SlowToTell(FakeWorker):
    """Reading what waits takes it as long as `telling` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.telling = asyncio.Event()
        self.told: list[set[Partition]] = []

    async def rebalanced(self, owned: Mapping[Partition, int]) -> None:
        self.told.append(set(owned))
        await self.telling.wait()


class Member:
    """A consumer that has both partitions, and begins to deliver a record of each."""

    def __init__(self) -> None:
        self.broker, self.worker = FakeBroker(), SlowToTell()
        settings = ConsumerSettings(group="g", topics=("t",), drain_s=0.01, idle_s=1_000.0)
        self.consumer = RecordConsumer(cast("KafkaBroker", self.broker), settings, self.worker, ManualClock(), Health())

    async def hand_over(self, offset: int = 0) -> None:
        """What FastStream does with what it has polled."""
        assert self.broker.subscribed.handle is not None
        await self.broker.subscribed.handle((record(offset, partition=0), record(offset, partition=1)))

    async def begin(self) -> asyncio.Task[None]:
        self.broker.subscribed.consumer = self.broker.consumer
        self.consumer._polling.take_over(self.broker.consumer)
        self.consumer.assigned([HERE, THERE])

        delivering = asyncio.create_task(self.hand_over())
        async with asyncio.timeout(5):
            while not self.worker.told:  # noqa: ASYNC110
                await asyncio.sleep(0)
        return delivering


async def test_records_of_a_partition_that_is_lost_while_the_worker_is_told_are_not_delivered() -> None:
    member = Member()
    delivering = await member.begin()
    await member.consumer.revoked([HERE, THERE])
    member.consumer.assigned([THERE])
    member.worker.telling.set()
    await delivering
    assert [one.partition for one in member.worker.seen] == [1]


async def test_the_worker_is_told_of_a_rebalance_that_comes_while_it_is_told_of_another_before_it_delivers() -> None:
    member = Member()
    delivering = await member.begin()
    await member.consumer.revoked([HERE, THERE])
    member.consumer.assigned([HERE])
    member.worker.telling.set()
    await delivering
    assert member.worker.told == [{HERE, THERE}, {HERE}]
    assert [one.partition for one in member.worker.seen] == [0]


async def test_what_others_have_finished_since_the_poll_is_not_delivered_again() -> None:
    member = Member()
    member.worker.telling.set()

    async def committed(partition: object) -> int:
        return 1 if partition == HERE else 0

    member.broker.consumer.committed = committed  # type: ignore[method-assign]
    await (await member.begin())
    assert [(one.partition, one.offset) for one in member.worker.seen] == [(1, 0)]
    assert member.broker.consumer.commits == [{THERE: 1}]


async def test_a_batch_that_ends_under_a_newer_assignment_moves_and_commits_nothing() -> None:
    member = Member()
    delivering = await member.begin()
    member.worker.telling.set()
    member.worker.hang.clear()
    async with asyncio.timeout(5):
        while not member.consumer._told:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await member.consumer.revoked([HERE, THERE])
    member.consumer.assigned([HERE, THERE])
    member.worker.hang.set()
    await delivering
    assert [one.offset for one in member.worker.seen] == [0, 0]
    assert member.broker.consumer.commits == []


async def test_the_work_in_hand_should_end_while_partitions_are_given_back_and_once_they_are_gone() -> None:
    member = Member()
    member.worker.telling.set()
    member.worker.hang.clear()
    delivering = await member.begin()
    async with asyncio.timeout(5):
        while not member.consumer._told:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert not member.consumer.leaving()
    revoking = asyncio.create_task(member.consumer.revoked([HERE, THERE]))
    await asyncio.sleep(0)
    assert member.consumer.leaving()
    await revoking
    member.consumer.assigned([HERE, THERE])
    assert member.consumer.leaving(), "it outlasted the deadline, and is still at work"
    member.worker.hang.set()
    await delivering
    await member.hand_over(1)
    assert not member.consumer.leaving()


async def test_idle_work_hears_of_records_that_wait_for_its_end_until_these_are_delivered() -> None:
    member = Member()
    member.worker.telling.set()
    await (await member.begin())
    async with member.consumer._at_work():
        assert not member.consumer.fresh_waits()
        member.worker.hang.clear()
        delivering = asyncio.create_task(member.hand_over(1))
        await asyncio.sleep(0)
        assert member.consumer.fresh_waits()
    async with asyncio.timeout(5):
        while member.consumer.fresh_waits():  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert len(member.worker.seen) == 2, "they are delivered just now"
    member.worker.hang.set()
    await delivering
    assert len(member.worker.seen) == 4
