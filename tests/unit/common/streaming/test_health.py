"""What /healthz and /readyz learn of a consume loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
from aiokafka.errors import CorruptRecordException, KafkaConnectionError
from faststream.kafka import KafkaBroker
from tests.unit.common.streaming.streaming_fakes import FakeBroker, FakeWorker, ManualClock, record

from chatferry.common.health import Health
from chatferry.common.streaming import polling
from chatferry.common.streaming.consumer import ConsumerSettings, RecordConsumer
from chatferry.common.streaming.records import Partition


class Member:
    """A RecordConsumer over fakes."""

    def __init__(self) -> None:
        self.broker, self.worker, self.clock, self.health = FakeBroker(), FakeWorker(), ManualClock(), Health()
        self.consumer = RecordConsumer(
            cast("KafkaBroker", self.broker),
            ConsumerSettings(group="g", topics=("t",), max_poll_interval_ms=600_000),
            self.worker,
            self.clock,
            self.health,
        )

    async def poll(self) -> None:
        """What FastStream's loop does."""
        assert self.broker.subscribed.handle is not None
        polled = await self.broker.consumer.getmany(timeout_ms=50, max_records=2_000)
        records = tuple(one for found in polled.values() for one in found)
        if records:
            await self.broker.subscribed.handle(records)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)

    def alive(self) -> str | None:
        return self.health.alive().get("consumer")


@asynccontextmanager
async def _running() -> AsyncIterator[Member]:
    member, stopping = Member(), asyncio.Event()
    task = asyncio.create_task(member.consumer.run(stopping))
    await member.until(lambda: member.broker.subscribed.consumer is not None)
    member.consumer.assigned([Partition("t", 0)])
    try:
        yield member
    finally:
        member.worker.hang.set()
        stopping.set()
        await asyncio.wait_for(task, 5)


async def test_two_parts_that_are_away_are_both_named_and_both_come_back() -> None:
    async with _running() as member:
        member.worker.away = {"target"}
        member.broker.consumer.log.append(record(0))
        await member.poll()
        member.worker.probe_meets = "mongodb"
        await member.until(lambda: set(member.health.outages) == {"target", "mongodb"})
        assert member.broker.consumer.paused == {Partition("t", 0)}
        member.worker.away, member.worker.probe_meets = set(), None
        await member.until(lambda: not member.health.outages)
        await member.until(lambda: not member.broker.consumer.paused)


async def test_an_outage_behind_another_one_is_named_when_its_turn_comes() -> None:
    async with _running() as member:
        member.worker.away = {"target"}
        member.broker.consumer.log.append(record(0))
        await member.poll()
        member.broker.consumer.silent = KafkaConnectionError()
        member.clock.seconds += 20
        member.worker.away = set()
        await member.until(lambda: set(member.health.outages) == {"kafka"})
        member.broker.consumer.silent = None
        await member.until(lambda: not member.health.outages)


async def test_kafka_that_is_away_is_seen_though_nothing_is_to_be_done() -> None:
    async with _running() as member:
        member.broker.consumer.silent = KafkaConnectionError()
        member.clock.seconds += 20
        await member.until(lambda: "kafka" in member.health.outages)
        assert "kafka" in member.health.ready()
        # Starting again would not bring it back.
        member.clock.seconds += 500
        assert member.alive() is None


async def test_a_commit_that_kafka_does_not_answer_is_an_outage_and_is_made_up_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(polling, "_ANSWER_S", 0.05)
    async with _running() as member:
        kafka = member.broker.consumer
        await member.until(lambda: member.consumer._told)
        answered = kafka.commit
        kafka.silent = KafkaConnectionError()
        monkeypatch.setattr(kafka, "commit", lambda _offsets: asyncio.Event().wait())
        kafka.log.append(record(0))
        await member.poll()
        assert "kafka" in member.health.ready()
        assert kafka.paused == {Partition("t", 0)}
        monkeypatch.setattr(kafka, "commit", answered)
        kafka.silent = None
        await member.until(lambda: not member.health.outages)
        await member.until(lambda: kafka.commits == [{Partition("t", 0): 1}])


async def test_a_place_of_the_group_that_kafka_does_not_tell_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "_ANSWER_S", 0.05)
    async with _running() as member:
        kafka = member.broker.consumer
        answered = kafka.committed
        kafka.silent = KafkaConnectionError()
        monkeypatch.setattr(kafka, "committed", lambda _partition: asyncio.Event().wait())
        member.consumer.assigned([Partition("t", 0)])
        await member.until(lambda: "kafka" in member.health.outages)
        monkeypatch.setattr(kafka, "committed", answered)
        kafka.silent = None
        await member.until(lambda: not member.health.outages)
        kafka.log.append(record(0))
        await member.poll()
        assert [one.offset for one in member.worker.seen] == [0]


async def test_an_ended_consume_task_is_seen() -> None:
    async with _running() as member:
        assert member.alive() is None
        member.broker.subscribed.end.set()
        await member.until(lambda: all(task.done() for task in member.broker.subscribed.tasks))
        assert "ended" in (member.alive() or "")


async def test_a_loop_whose_polls_all_fail_is_seen() -> None:
    async with _running() as member:
        member.broker.consumer.failure = CorruptRecordException()
        member.clock.seconds += 20
        assert member.alive() is None
        member.clock.seconds += 20
        assert "nothing was read" in (member.alive() or "")
        member.broker.consumer.failure = None
        await member.poll()
        assert member.alive() is None


async def test_a_long_delivery_is_no_silence_but_a_hung_one_is() -> None:
    async with _running() as member:
        member.worker.hang.clear()
        member.broker.consumer.log.append(record(0))
        polling = asyncio.create_task(member.poll())
        await asyncio.sleep(0.02)
        member.clock.seconds += 300
        assert member.alive() is None
        member.clock.seconds += 301
        assert "longer than 600 s" in (member.alive() or "")
        member.worker.hang.set()
        await polling
        assert member.alive() is None


async def test_a_member_that_is_given_no_answer_about_partitions_is_seen_and_a_spare_one_is_well() -> None:
    async with _running() as member:
        await member.consumer.revoked([Partition("t", 0)])
        member.clock.seconds += 121
        await member.poll()
        assert "no partitions" in (member.alive() or "")
        member.consumer.assigned([])
        assert member.alive() is None


async def test_a_consumer_that_was_stopped_is_not_ill() -> None:
    async with _running() as member:
        pass
    member.clock.seconds += 1_000
    assert member.alive() is None
