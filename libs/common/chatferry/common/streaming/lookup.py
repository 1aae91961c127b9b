"""Reads single records of a topic by their place, and a topic from its beginning to its end; joins no group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from chatferry.common.clock import Clock
from chatferry.common.errors import OutageError
from chatferry.common.streaming.records import Partition, RawRecord

_SENTENCE = "Kafka does not answer for what is read from it; ask again when it does"
_WORTH_A_SEEK = 2_000
_AT_ONCE = 500
_SWALLOWED_S = 0.2
_SILENT_S = 20.0
# A broker answers a connection's requests in turn: whatever is asked while a fetch at the end of a partition waits for
# records that do not come is answered after it.
_LONGEST_FETCH_MS = 20


class RecordLookup:
    """A context manager; every method raises OutageError while Kafka does not answer."""

    def __init__(self, bootstrap: str, clock: Clock, *, client_id: str) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            client_id=client_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=_LONGEST_FETCH_MS,
        )
        self._bootstrap, self._clock = bootstrap, clock

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
        except KafkaError as away:
            await self._consumer.stop()
            raise OutageError("kafka", _SENTENCE) from away
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        stopping = asyncio.create_task(self._consumer.stop(), name="end of a lookup")
        # aiokafka's fetcher swallows its cancellation while it cancels what an assignment that is over was fetching.
        while not (await asyncio.wait({stopping}, timeout=_SWALLOWED_S))[0]:
            self._consumer._fetcher._fetch_task.cancel()
        await stopping

    async def read(self, wanted: Mapping[Partition, Collection[int]]) -> dict[tuple[Partition, int], RawRecord]:
        """The records at these offsets; those that are no longer there are left out."""
        found: dict[tuple[Partition, int], RawRecord] = {}
        try:
            for partition, offsets in wanted.items():
                if offsets:
                    found.update(await self._of(partition, sorted(offsets)))
        except KafkaError as away:
            raise OutageError("kafka", _SENTENCE) from away
        finally:
            self._rest()
        return found

    async def scan(self, topic: str) -> AsyncGenerator[list[RawRecord], None]:
        """All records of the topic that are there now, partition by partition, in batches."""
        try:
            for number in await self._partitions(topic):
                partition = TopicPartition(topic, number)
                at, end = await self._bounds(partition)
                if at < end:
                    self._consumer.assign([partition])
                    self._consumer.seek(partition, at)
                    while at < end:
                        batch, at = await self._next(partition)
                        yield batch
        except KafkaError as away:
            raise OutageError("kafka", _SENTENCE) from away
        finally:
            self._rest()

    def _rest(self) -> None:
        """Fetch nothing until something is asked for."""
        self._consumer.unsubscribe()

    async def _partitions(self, topic: str) -> list[int]:
        # A consumer knows the partitions of no topic that it is not subscribed to.
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        try:
            await admin.start()
            [described] = await admin.describe_topics([topic])
            return sorted(partition["partition"] for partition in described["partitions"])
        finally:
            await admin.close()

    async def _of(self, where: Partition, offsets: list[int]) -> dict[tuple[Partition, int], RawRecord]:
        partition = TopicPartition(*where)
        at, end = await self._bounds(partition)
        left = [offset for offset in offsets if at <= offset < end]
        found: dict[tuple[Partition, int], RawRecord] = {}
        if not left:
            return found
        self._consumer.assign([partition])
        wanted, last = set(left), left[-1]
        at, index = left[0], 0
        self._consumer.seek(partition, at)
        while at <= last:
            batch, at = await self._next(partition)
            found.update({(where, record.offset): record for record in batch if record.offset in wanted})
            while index < len(left) and left[index] < at:
                index += 1
            if index < len(left) and left[index] - at > _WORTH_A_SEEK:
                at = left[index]
                self._consumer.seek(partition, at)
        return found

    async def _bounds(self, partition: TopicPartition) -> tuple[int, int]:
        begin = await self._consumer.beginning_offsets([partition])
        end = await self._consumer.end_offsets([partition])
        return int(begin[partition]), int(end[partition])

    async def _next(self, partition: TopicPartition) -> tuple[list[RawRecord], int]:
        """A batch that is not empty (unless what was there is compacted away), and where the next one begins."""
        began, before = self._clock.monotonic(), await self._consumer.position(partition)
        while True:
            polled = await self._consumer.getmany(partition, timeout_ms=500, max_records=_AT_ONCE)
            at = await self._consumer.position(partition)
            if polled or at != before:
                return list(polled.get(partition, [])), at
            if self._clock.monotonic() - began > _SILENT_S:
                raise OutageError("kafka", _SENTENCE)
