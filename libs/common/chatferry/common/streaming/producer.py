"""Sends chunks of records; a chunk is answered whole, or an outage says that it was not (design: data.md §3)."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import murmur2
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from chatferry.common.errors import OutageError, PermanentError
from chatferry.common.streaming.records import Outgoing, Partition

_LAST_REQUEST_S = 2.0
_SENTENCE = "Kafka does not answer for records sent to it; they are sent again when it does"


class RecordProducer:
    """An idempotent producer with acks from all replicas.

    In each partition one batch at a time is on its way, and the next one waits for its answer: aiokafka may reorder
    batches, and one that expires is overtaken. After a failure the connection is closed and opened anew, so that
    nothing unanswered can arrive late.
    """

    def __init__(self, bootstrap: str, *, client_id: str, batch_bytes: int = 900_000, timeout_ms: int = 15_000) -> None:
        self._options: dict[str, Any] = {
            "bootstrap_servers": bootstrap,
            "client_id": client_id,
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": "lz4",
            "max_batch_size": batch_bytes,
            "max_request_size": 2 * 1024 * 1024,
            "linger_ms": 0,
            "request_timeout_ms": timeout_ms,
        }
        self._producer: AIOKafkaProducer | None = None
        self._partitions: dict[str, int] = {}
        self._opening = asyncio.Lock()

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Returns when the broker has answered for every record, in the given order within each partition.

        Raises OutageError when any answer is missing: any of them may have arrived, so send the same records again.
        Raises PermanentError (`record.too_large`) for a record that its topic cannot take; others may have arrived.
        """
        if not records:
            return
        try:
            queues = await self._by_partition(records)
            while queues:
                sending = [self._send_one_batch(partition, queue) for partition, queue in queues.items()]
                # All come back before the first failure is raised: none may open a connection behind our back.
                for outcome in await asyncio.gather(*sending, return_exceptions=True):
                    if isinstance(outcome, BaseException):
                        raise outcome
                queues = {partition: queue for partition, queue in queues.items() if queue}
        except (KafkaError, TimeoutError) as failure:
            await self._drop()
            raise OutageError("kafka", _SENTENCE) from failure

    def fits(self, record: Outgoing) -> bool:
        """Whether a batch surely has room for it. One that does not is best sent alone, for nothing arrives twice then:
        what goes with a record that is refused may have arrived."""
        size = DefaultRecordBatchBuilder.estimate_size_in_bytes(record.key, record.value, list(record.headers))
        return bool(size <= self._options["max_batch_size"])

    async def has_topic(self, topic: str) -> bool:
        """Whether the topic exists. OutageError when Kafka does not answer."""
        try:
            producer = await self._open()
            async with asyncio.timeout(10):
                # Asked for by name, a topic that is missing would be waited for.
                return topic in (await producer.client.fetch_all_metadata()).topics()
        except (KafkaError, TimeoutError) as failure:
            await self.close()
            raise OutageError("kafka", "Kafka does not answer") from failure

    async def partitions_of(self, topic: str) -> int:
        """How many partitions the topic has. OutageError when Kafka does not answer, or has no such topic (yet)."""
        if not await self.has_topic(topic):
            raise OutageError("kafka", f"topic {topic} does not exist yet; it is made by bootstrap")
        try:
            return await self._count(await self._open(), topic)
        except (KafkaError, TimeoutError) as failure:
            raise OutageError("kafka", _SENTENCE) from failure

    async def close(self) -> None:
        """Let go of the connection; the next `send` opens a new one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(5):
                    await producer.stop()
            except (KafkaError, TimeoutError):
                await _abandon(producer)

    async def _drop(self) -> None:
        """Let go at once of what is unanswered: it is sent again, and must not arrive late."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _abandon(producer)

    async def _by_partition(self, records: Sequence[Outgoing]) -> dict[Partition, deque[Outgoing]]:
        producer = await self._open()
        queues: dict[Partition, deque[Outgoing]] = defaultdict(deque)
        known: dict[tuple[str, bytes | None], deque[Outgoing]] = {}
        for record in records:
            queue = known.get((record.topic, record.key))
            if queue is None:
                partition = partition_for(record.key, await self._count(producer, record.topic))
                queue = known[record.topic, record.key] = queues[Partition(record.topic, partition)]
            queue.append(record)
        return queues

    async def _count(self, producer: AIOKafkaProducer, topic: str) -> int:
        count = self._partitions.get(topic)
        if count is None:
            async with asyncio.timeout(15):
                count = len(await producer.partitions_for(topic))
            self._partitions[topic] = count
        return count

    async def _send_one_batch(self, partition: Partition, queue: deque[Outgoing]) -> None:
        producer = await self._open()
        batch = producer.create_batch()
        while queue:
            record = queue[0]
            if batch.append(key=record.key, value=record.value, timestamp=None, headers=list(record.headers)) is None:
                break
            queue.popleft()
        # aiokafka takes the first record of a batch whatever its size, and the broker then refuses it for ever.
        if batch.record_count() == 1 and batch.size() > self._options["max_batch_size"]:
            raise _too_large(partition.topic)
        answered = await producer.send_batch(batch, partition.topic, partition=partition.partition)
        try:
            # An idempotent producer of aiokafka gives up on no batch: without an end of ours nobody would hear of it.
            async with asyncio.timeout(self._options["request_timeout_ms"] / 1_000):
                await answered
        except MessageSizeTooLargeError:
            await self.close()
            raise _too_large(partition.topic) from None

    async def _open(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._producer is None:
                producer = AIOKafkaProducer(**self._options)
                try:
                    # Without an end of ours it would wait for its producer id for as long as it takes.
                    async with asyncio.timeout(self._options["request_timeout_ms"] / 1_000):
                        await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer


async def _abandon(producer: AIOKafkaProducer) -> None:
    """`stop` would wait until everything is sent, and leave the sender at work when it is not waited for."""
    producer._closed = True
    with suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(_LAST_REQUEST_S):
            await producer._sender.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_REQUEST_S):
            await producer.client.close()


def _too_large(topic: str) -> PermanentError:
    return PermanentError("record.too_large", f"a record is larger than topic {topic} takes")


def partition_for(key: bytes | None, count: int) -> int:
    """Kafka's own rule for a key (murmur2), so that any client finds the same partition; no key: partition 0."""
    return 0 if key is None else int((murmur2(key) & 0x7FFFFFFF) % count)
