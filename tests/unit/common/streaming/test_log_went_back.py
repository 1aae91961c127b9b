"""A broker that has lost the end of a log, and writes it anew: what is new there is not taken for what was finished."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest
from faststream.kafka import KafkaBroker
from tests.unit.common.streaming.streaming_fakes import FakeBroker, FakeWorker, ManualClock, record

from chatferry.common.health import Health
from chatferry.common.streaming import polling
from chatferry.common.streaming.consumer import ConsumerSettings, RecordConsumer
from chatferry.common.streaming.records import Partition

HERE, THERE = Partition("t", 0), Partition("t", 1)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The lines of the log that are errors."""
    lines: list[object] = []
    log = SimpleNamespace(error=lambda event, **fields: lines.append((event, fields)))
    monkeypatch.setattr(polling, "log", log)
    return lines


class _Worker(FakeWorker):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict[Partition, int]] = []

    async def rebalanced(self, owned: Mapping[Partition, int]) -> None:
        self.told.append(dict(owned))

    def places(self) -> list[tuple[int, int]]:
        return [(one.partition, one.offset) for one in self.seen]


class _Member:
    """Stands at 5000 in one partition and at 7 in the other."""

    def __init__(self, end: int) -> None:
        self.broker, self.worker = FakeBroker(), _Worker()
        settings = ConsumerSettings(group="g", topics=("t",), idle_s=1_000.0)
        self.clock = ManualClock()
        self.consumer = RecordConsumer(cast("KafkaBroker", self.broker), settings, self.worker, self.clock, Health())
        self.kafka = self.broker.subscribed.consumer = self.broker.consumer
        self.kafka.ends = {HERE: end, THERE: 7}
        self.consumer._polling.take_over(self.kafka)

        async def committed(partition: object) -> int:
            return 5_000 if partition == HERE else 7

        self.kafka.committed = committed  # type: ignore[method-assign]
        self.consumer.assigned([HERE, THERE])

    async def hand_over(self, *offsets: int, after_s: float = 1.0) -> None:
        self.clock.seconds += after_s
        assert self.broker.subscribed.handle is not None
        await self.broker.subscribed.handle(tuple(record(offset) for offset in offsets))


async def test_a_group_that_stands_beyond_the_end_begins_anew_and_says_so(said: list[object]) -> None:
    member = _Member(end=4_900)
    await member.hand_over(4_899, 4_900)
    assert member.worker.told == [{HERE: 0, THERE: 7}]
    assert member.worker.places() == [(0, 4_899), (0, 4_900)]
    assert member.kafka.commits == [{HERE: 4_901}]
    assert said == [("topic.went_back", {"topic": "t", "partition": 0, "committed": 5_000})]


async def test_a_log_that_goes_back_under_a_group_that_reads_it_is_read_anew(said: list[object]) -> None:
    member = _Member(end=5_000)
    await member.hand_over(5_000)
    await member.hand_over(4_899, 4_900)
    await member.hand_over(4_901)
    assert member.worker.told == [{HERE: 5_000, THERE: 7}, {HERE: 0, THERE: 7}]
    assert member.worker.places() == [(0, 5_000), (0, 4_899), (0, 4_900), (0, 4_901)]
    assert member.kafka.commits == [{HERE: 5_001}, {HERE: 4_901}, {HERE: 4_902}]
    assert said == [("topic.went_back", {"topic": "t", "partition": 0, "committed": 5_001})]


async def test_one_that_goes_back_behind_what_is_not_committed_yet_is_read_anew(
    said: list[object],
) -> None:
    member = _Member(end=5_000)
    await member.hand_over(5_000)
    await member.hand_over(5_001, 5_002, after_s=0.1)
    await member.hand_over(5_001, after_s=0.0)
    await member.hand_over(5_002)
    assert member.worker.places() == [(0, 5_000), (0, 5_001), (0, 5_002), (0, 5_001), (0, 5_002)]
    assert member.kafka.commits == [{HERE: 5_001}, {HERE: 5_003}]
    assert said == [("topic.went_back", {"topic": "t", "partition": 0, "committed": 5_003})]


async def test_what_was_polled_before_the_group_was_asked_where_it_stands_is_finished(said: list[object]) -> None:
    member = _Member(end=5_000)
    await member.hand_over(4_999, 5_000)
    assert member.worker.places() == [(0, 5_000)]
    assert said == []
