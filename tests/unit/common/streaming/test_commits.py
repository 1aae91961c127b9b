"""When what is finished is committed: each commit is a round trip for which the next poll waits."""

from __future__ import annotations

from typing import cast

import pytest
from faststream.kafka import KafkaBroker
from tests.unit.common.streaming.streaming_fakes import FakeBroker, FakeWorker, ManualClock, record

from chatferry.common.health import Health
from chatferry.common.streaming.consumer import ConsumerSettings, RecordConsumer
from chatferry.common.streaming.records import Partition

HERE = Partition("t", 0)


class Member:
    """A consumer that has one partition, and is handed what FastStream has polled."""

    def __init__(self) -> None:
        self.broker, self.clock, self.worker = FakeBroker(), ManualClock(), FakeWorker()
        settings = ConsumerSettings(group="g", topics=("t",))
        self.consumer = RecordConsumer(cast("KafkaBroker", self.broker), settings, self.worker, self.clock, Health())
        self.kafka = self.broker.subscribed.consumer = self.broker.consumer
        self.consumer._polling.take_over(self.kafka)
        self.consumer.assigned([HERE])

    async def hand_over(self, offset: int) -> None:
        assert self.broker.subscribed.handle is not None
        await self.broker.subscribed.handle((record(offset),))


@pytest.fixture
async def member() -> Member:
    """Has committed the first record; four more came after it, within a tenth of a second."""
    made = Member()
    for offset in range(5):
        await made.hand_over(offset)
        made.clock.seconds += 0.02
    assert made.kafka.commits == [{HERE: 1}]
    return made


async def test_polls_that_follow_each_other_fast_are_committed_together(member: Member) -> None:
    member.clock.seconds += 0.1
    await member.hand_over(5)
    await member.hand_over(6)
    assert member.kafka.commits == [{HERE: 1}, {HERE: 6}]
    assert [one.offset for one in member.worker.seen] == list(range(7))


async def test_idle_work_commits_what_is_left(member: Member) -> None:
    await member.consumer._idle_step(0.2)
    await member.consumer._idle_step(0.2)
    assert member.kafka.commits == [{HERE: 1}, {HERE: 5}]


async def test_a_partition_is_given_back_and_a_process_ends_with_all_committed(member: Member) -> None:
    await member.consumer.revoked([HERE])
    assert member.kafka.commits == [{HERE: 1}, {HERE: 5}]
    member.consumer.assigned([HERE])
    await member.hand_over(5)
    await member.hand_over(6)
    await member.consumer._stop()
    assert member.kafka.commits[-1] == {HERE: 7}
