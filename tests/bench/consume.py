"""The consume path (RecordConsumer on FastStream, commits of finished work) beside a bare aiokafka loop."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from chatferry.common.clock import SystemClock
from chatferry.common.errors import OutageError
from chatferry.common.health import Health
from chatferry.common.streaming.consumer import ConsumerSettings, RecordConsumer, open_broker
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.progress import Progress
from chatferry.common.streaming.records import Outgoing, Partition, RawRecord

_PARTITIONS, _PAIRS, _BATCH = 6, 3, 2_000
_VALUE = b'{"author_id":503,"chat_id":1489,"id":84869,"text":"' + b"x" * 300 + b'"}'
_HEADERS = tuple((f"ce_{name}", b"source:chat:msg:84869@3702261816320000001") for name in "abcdefgh")


def ratio(bootstrap: str, records: int) -> dict[str, float]:
    """Records per second of both, and the median of the ratios of pairs taken in turn."""
    return asyncio.run(_ratio(bootstrap, records))


async def _ratio(bootstrap: str, records: int) -> dict[str, float]:
    topic = f"bench.{secrets.token_hex(4)}"
    await _fill(bootstrap, topic, records)
    bare, ours = [], []
    for _ in range(_PAIRS):
        bare.append(await _bare(bootstrap, topic, records))
        ours.append(await _ours(bootstrap, topic, records))
    return {
        "bare_per_s": statistics.median(bare),
        "ours_per_s": statistics.median(ours),
        "ratio": statistics.median(o / b for o, b in zip(ours, bare, strict=True)),
    }


async def _fill(bootstrap: str, topic: str, records: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, _PARTITIONS, 1)])
    await admin.close()
    producer = RecordProducer(bootstrap, client_id="bench")
    for start in range(0, records, 5_000):
        chunk = range(start, min(start + 5_000, records))
        await producer.send([Outgoing(topic, b"%d" % (n % 500), _VALUE, _HEADERS) for n in chunk])
    await producer.close()


async def _bare(bootstrap: str, topic: str, records: int) -> float:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"bare-{secrets.token_hex(4)}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=2 * 1024 * 1024,
    )
    await consumer.start()
    seen, began = 0, 0.0
    while seen < records:
        for batch in (await consumer.getmany(timeout_ms=500, max_records=_BATCH)).values():
            began = began or time.perf_counter()
            seen += len(batch)
    rate = seen / (time.perf_counter() - began)
    await consumer.stop()
    return rate


class _Counting:
    """A worker that finishes everything at once."""

    def __init__(self, records: int) -> None:
        self.left, self.began, self.done = records, 0.0, asyncio.Event()

    async def rebalanced(self, owned: Mapping[Partition, int]) -> None:
        del owned

    async def deliver(self, records: Sequence[RawRecord], progress: Progress) -> None:
        self.began = self.began or time.perf_counter()
        progress.finish(records)
        self.left -= len(records)
        if self.left <= 0:
            self.done.set()

    async def idle(self) -> None:
        return

    async def probe(self, away: OutageError) -> None:
        raise away


async def _ours(bootstrap: str, topic: str, records: int) -> float:
    worker = _Counting(records)
    settings = ConsumerSettings(group=f"ours-{secrets.token_hex(4)}", topics=(topic,), max_records=_BATCH)
    consumer = RecordConsumer(open_broker(bootstrap, client_id="bench"), settings, worker, SystemClock(), Health())
    stopping = asyncio.Event()
    running = asyncio.create_task(consumer.run(stopping))
    async with asyncio.timeout(300):
        await worker.done.wait()
    rate = records / (time.perf_counter() - worker.began)
    stopping.set()
    await running
    return rate
