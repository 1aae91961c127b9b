"""A broker, a subscriber and a consumer as the runtime meets them, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import KafkaError

from chatferry.common.errors import OutageError
from chatferry.common.streaming.progress import Progress
from chatferry.common.streaming.records import Partition, RawRecord, StoredRecord, partition_of


class ManualClock:
    """Stands still; `sleep` only lets others run."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        del seconds
        await asyncio.sleep(0)


def record(offset: int, size: int = 1, partition: int = 0, topic: str = "t") -> StoredRecord:
    return StoredRecord(topic, partition, offset, 0, None, b"x" * size, ())


class FakeConsumer:
    """Hands out `log`, in order; `failure` is what a poll meets, `silent` what a question to Kafka meets."""

    def __init__(self) -> None:
        self._client = SimpleNamespace(_sync_task=None)
        self.log: list[StoredRecord] = []
        self.failure: KafkaError | None = None
        self.silent: KafkaError | None = None
        self.paused: set[Partition] = set()
        self.commits: list[dict[Partition, int]] = []
        self.ends: dict[Partition, int] = {}

    async def getmany(
        self, *partitions: Partition, timeout_ms: int, max_records: int
    ) -> dict[Partition, list[RawRecord]]:
        del timeout_ms
        if self.failure is not None:
            raise self.failure
        wanted = [one for one in self.log if not partitions or partition_of(one) in partitions][:max_records]
        polled: dict[Partition, list[RawRecord]] = {}
        for one in wanted:
            self.log.remove(one)
            polled.setdefault(partition_of(one), []).append(one)
        return polled

    def pause(self, partition: Any) -> None:
        self.paused.add(Partition(*partition))

    def resume(self, partition: Any) -> None:
        self.paused.discard(Partition(*partition))

    def seek(self, partition: Any, offset: int) -> None:
        del partition, offset

    async def commit(self, offsets: dict[Partition, int]) -> None:
        self.commits.append(offsets)

    async def committed(self, partition: Any) -> int | None:
        del partition
        return None

    def assignment(self) -> set[Partition]:
        return {Partition("t", 0), *map(partition_of, self.log)}

    async def end_offsets(self, partitions: Sequence[Any]) -> dict[Any, int]:
        if self.silent is not None:
            raise self.silent
        return {one: self.ends.get(Partition(*one), 1_000) for one in partitions}


class FakeSubscriber:
    """`tasks` as FastStream keeps them; the test decides when its loop ends."""

    def __init__(self) -> None:
        self.consumer: FakeConsumer | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.handle: Callable[[Any], Awaitable[None]] | None = None
        self.end = asyncio.Event()

    def __call__(self, handle: Callable[[Any], Awaitable[None]]) -> None:
        self.handle = handle

    async def loop(self) -> None:
        await self.end.wait()


class FakeBroker:
    """One subscriber."""

    def __init__(self) -> None:
        self.subscribed = FakeSubscriber()
        self.consumer = FakeConsumer()

    def subscriber(self, *topics: str, **options: Any) -> FakeSubscriber:
        del topics
        self.listener = options["listener"]
        return self.subscribed

    async def start(self) -> None:
        self.subscribed.consumer = self.consumer
        self.subscribed.tasks.append(asyncio.create_task(self.subscribed.loop()))

    async def stop(self) -> None:
        self.subscribed.end.set()
        self.subscribed.consumer = None


class FakeWorker:
    """`away`: the parts that are away now; `probe_meets`: one that every probe stumbles over."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.probe_meets: str | None = None
        self.seen: list[RawRecord] = []
        self.hang = asyncio.Event()
        self.hang.set()

    async def rebalanced(self, owned: Mapping[Partition, int]) -> None:
        del owned

    async def deliver(self, records: Sequence[RawRecord], progress: Progress) -> None:
        for part in sorted(self.away):
            raise OutageError(part, "away")
        await self.hang.wait()
        self.seen += records
        progress.finish(records)

    async def idle(self) -> None:
        await asyncio.sleep(0)

    async def probe(self, away: OutageError) -> None:
        if self.probe_meets is not None:
            raise OutageError(self.probe_meets, "away")
        if away.part in self.away:
            raise OutageError(away.part, "still away")
