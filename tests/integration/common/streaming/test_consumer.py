"""The runtime against a real broker: commits, outages, rebalances, holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import NodeNotReadyError

from chatferry.common.clock import SystemClock
from chatferry.common.errors import OutageError
from chatferry.common.health import Health
from chatferry.common.streaming.consumer import ConsumerSettings, RecordConsumer, open_broker
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.progress import Progress
from chatferry.common.streaming.records import Outgoing, Partition, RawRecord
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


@dataclass
class Worker:
    """Remembers what it was told; `obey` may leave records unfinished or raise."""

    seen: list[tuple[str, int, int]] = field(default_factory=list)
    owned: Mapping[Partition, int] = field(default_factory=dict)
    told: int = 0
    busy: int = 0
    away: bool = False
    slow_s: float = 0.0
    leave: Callable[[RawRecord], bool] = field(default=lambda record: False)
    failure: BaseException | None = None

    async def rebalanced(self, owned: Mapping[Partition, int]) -> None:
        self._alone()
        self.owned, self.told = dict(owned), self.told + 1
        self.busy -= 1

    async def deliver(self, records: Sequence[RawRecord], progress: Progress) -> None:
        self._alone()
        try:
            if self.failure is not None:
                raise self.failure
            if self.away:
                raise OutageError("target", "away")
            await asyncio.sleep(self.slow_s)
            done = [record for record in records if not self.leave(record)]
            self.seen += [(record.topic, record.partition, record.offset) for record in done]
            progress.finish(done)
        finally:
            self.busy -= 1

    async def idle(self) -> None:
        self._alone()
        await asyncio.sleep(0)
        self.busy -= 1

    async def probe(self, away: OutageError) -> None:
        if self.away:
            raise away

    def _alone(self) -> None:
        self.busy += 1
        assert self.busy == 1


@dataclass
class Running:
    """One member of the group."""

    worker: Worker
    consumer: RecordConsumer
    health: Health
    stopping: asyncio.Event
    task: asyncio.Task[None]


@asynccontextmanager
async def _member(stack: Addresses, topics: Sequence[str], worker: Worker) -> AsyncIterator[Running]:
    health, stopping = Health(), asyncio.Event()
    settings = ConsumerSettings(group=f"{topics[0]}.group", topics=tuple(topics), max_records=100, drain_s=5)
    broker = open_broker(stack.kafka, client_id="tests")
    consumer = RecordConsumer(broker, settings, worker, SystemClock(), health)
    task = asyncio.create_task(consumer.run(stopping))
    try:
        yield Running(worker, consumer, health, stopping, task)
    finally:
        stopping.set()
        with suppress(Exception):
            await asyncio.wait_for(task, 15)


async def _until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _publish(stack: Addresses, topic: str, count: int) -> None:
    producer = RecordProducer(stack.kafka, client_id="tests")
    await producer.send([Outgoing(topic, b"%d" % n, b"%d" % n, [("n", b"%d" % n)]) for n in range(count)])
    await producer.close()


async def _committed(stack: Addresses, topics: Sequence[str]) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(f"{topics[0]}.group")
        return sum(max(offset.offset, 0) for offset in offsets.values())
    finally:
        await admin.close()


async def test_only_finished_records_are_committed_and_the_others_come_again(
    stack: Addresses, topics: tuple[str, str]
) -> None:
    await _publish(stack, topics[1], 200)
    stubborn = Worker(leave=lambda record: record.offset >= 10)
    async with _member(stack, topics, stubborn):
        await _until(lambda: len(stubborn.seen) >= 40)
    assert await _committed(stack, topics) == 40
    worker = Worker()
    async with _member(stack, topics, worker):
        await _until(lambda: len(worker.seen) == 160)
    assert min(offset for _, _, offset in worker.seen) == 10
    assert await _committed(stack, topics) == 200


async def test_a_group_that_stands_beyond_the_end_of_a_log_meets_what_is_new_there(
    stack: Addresses, topics: tuple[str, str]
) -> None:
    await _publish(stack, topics[1], 60)
    places = [TopicPartition(topics[1], number) for number in range(4)]
    async with AIOKafkaConsumer(bootstrap_servers=stack.kafka, group_id=f"{topics[0]}.group") as alone:
        alone.assign(places)
        await alone.commit(dict.fromkeys(places, 5_000))
    worker = Worker()
    async with _member(stack, topics, worker) as running:
        await _until(lambda: len(worker.seen) == 60)
        await _publish(stack, topics[1], 60)
        await _until(lambda: len(worker.seen) == 120)
        assert running.health.alive() == {}
    assert len(set(worker.seen)) == 120
    assert await _committed(stack, topics) == 120


async def test_an_outage_pauses_keeps_the_membership_and_redelivers(stack: Addresses, topics: tuple[str, str]) -> None:
    await _publish(stack, topics[1], 50)
    worker = Worker(away=True)
    async with _member(stack, topics, worker) as running:
        await _until(lambda: "target" in running.health.outages)
        told = worker.told
        await asyncio.sleep(2)
        assert worker.seen == []
        assert running.health.alive() == {}
        worker.away = False
        await _until(lambda: len(worker.seen) == 50)
        assert worker.told == told
        assert running.health.outages == {}
    assert await _committed(stack, topics) == 50


async def test_a_client_whose_refresh_of_metadata_has_died_finds_its_coordinator_all_the_same(
    stack: Addresses, topics: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await _publish(stack, topics[1], 5)
    worker = Worker()
    async with _member(stack, topics, worker) as running:
        await _until(lambda: len(worker.seen) == 5)
        consumer: Any = running.consumer._consumer
        client, coordinator = consumer._client, consumer._coordinator
        refresh, lookup = client._sync_task, client.coordinator_lookup

        async def broken(*_: object) -> bool:
            raise RuntimeError("the handler is closed")

        async def away_once(*asked: object) -> object:
            monkeypatch.setattr(client, "coordinator_lookup", lookup)
            raise NodeNotReadyError

        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(client, "_metadata_update", broken)
            client.force_metadata_update()
            await _until(refresh.done)
        # A client whose broker comes back looks for its coordinator, and waits for metadata.
        monkeypatch.setattr(client, "coordinator_lookup", away_once)
        coordinator.coordinator_dead()
        await _publish(stack, topics[1], 5)
        await _until(lambda: coordinator.coordinator_id is not None)
        await _until(lambda: len(worker.seen) == 10)
    assert await _committed(stack, topics) == 10


async def test_a_held_topic_is_not_read_until_it_is_let_go(stack: Addresses, topics: tuple[str, str]) -> None:
    worker = Worker()
    async with _member(stack, topics, worker) as running:
        await _until(lambda: worker.told == 1)
        running.consumer.hold([topics[1]])
        await _publish(stack, topics[1], 20)
        await _publish(stack, topics[0], 20)
        await _until(lambda: len(worker.seen) == 20)
        await asyncio.sleep(0.5)
        assert {topic for topic, _, _ in worker.seen} == {topics[0]}
        running.consumer.hold([])
        await _until(lambda: len(worker.seen) == 40)


async def test_two_members_share_partitions_of_both_topics_alike_and_nothing_is_lost_in_between(
    stack: Addresses, topics: tuple[str, str]
) -> None:
    first, second = Worker(slow_s=0.05), Worker(slow_s=0.05)
    await _publish(stack, topics[1], 1_000)
    async with _member(stack, topics, first):
        await _until(lambda: len(first.seen) > 100)
        async with _member(stack, topics, second):
            await _until(lambda: len(second.owned) == 4 and len(first.owned) == 4)
            await _publish(stack, topics[0], 400)
            for worker in (first, second):
                numbers = [{p.partition for p in worker.owned if p.topic == topic} for topic in topics]
                assert numbers[0] == numbers[1]
            await _until(lambda: len(set(first.seen) | set(second.seen)) == 1_400)
        await _until(lambda: len(first.owned) == 8)
    # The work in hand was finished and committed before the partitions went over: nothing came twice.
    assert len(first.seen) + len(second.seen) == 1_400
    assert await _committed(stack, topics) == 1_400


async def test_a_failure_of_the_worker_ends_the_run_and_commits_nothing_of_it(
    stack: Addresses, topics: tuple[str, str]
) -> None:
    await _publish(stack, topics[0], 20)
    worker = Worker(failure=ValueError("a bug"))
    async with _member(stack, topics, worker) as running:
        with pytest.raises(ValueError, match="a bug"):
            await asyncio.wait_for(asyncio.shield(running.task), 20)
        assert "ValueError" in running.health.alive()["consumer"]
    assert await _committed(stack, topics) == 0


async def test_a_broker_that_is_away_at_the_start_is_an_outage(stack: Addresses) -> None:
    broker = open_broker("127.0.0.1:1", client_id="tests")
    settings = ConsumerSettings(group="g", topics=("t",))
    consumer = RecordConsumer(broker, settings, Worker(), SystemClock(), Health())
    with pytest.raises(OutageError) as away:
        await asyncio.wait_for(consumer.run(asyncio.Event()), 60)
    assert away.value.part == "kafka"
