"""What a broker has answered, read by aiokafka's own fetcher."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from chatferry.common.streaming.records import Partition, RawRecord

_NAME, _BROKEN_NAME = "named", b"\xff\xfe\x00\xc3d"
_CRC_AT, _AFTER_CRC, _HEADER = ">I", 21, 61


def batch(base: int, count: int, *, compression: int = 0, named: Sequence[int] = (), torn: bool = False) -> bytes:
    """Records from an offset on. `named`: which have a header whose name is no UTF-8; `torn`: its sum is wrong."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1_000_000,
    )
    for index in range(count):
        name = _NAME if base + index in named else "plain"
        builder.append(index, timestamp=1, key=b"%d" % index, value=b"named %d" % index, headers=[(name, b"named")])
    plain = bytearray(builder.build())
    place = plain.find(b"\x0anamed")
    while place >= 0:
        plain[place + 1 : place + 6] = _BROKEN_NAME
        place = plain.find(b"\x0anamed\x0anamed", place)
    return _sealed(plain, base, compression, torn=torn)


def _sealed(plain: bytearray, base: int, compression: int, *, torn: bool) -> bytes:
    if compression:
        from aiokafka.codec import gzip_encode

        plain[_HEADER:] = gzip_encode(bytes(plain[_HEADER:]))
        plain[22] = compression
        struct.pack_into(">i", plain, 8, len(plain) - 12)
    struct.pack_into(">q", plain, 0, base)
    struct.pack_into(_CRC_AT, plain, 17, calc_crc32c(bytes(plain[_AFTER_CRC:])) ^ torn)
    return bytes(plain)


class FetchingConsumer:
    """`broker`: what it has of each partition, as batches by their first offset."""

    def __init__(self, broker: Mapping[Partition, Sequence[tuple[int, bytes]]]) -> None:
        self._client = SimpleNamespace(_sync_task=None)
        self.broker = {Partition(*partition): dict(batches) for partition, batches in broker.items()}
        self.positions = {partition: _State(min(batches)) for partition, batches in self.broker.items()}
        self._fetcher = fetcher.Fetcher.__new__(fetcher.Fetcher)
        self._fetcher._subscriptions = SimpleNamespace(reassignment_in_progress=False, is_assigned=lambda _: True)
        self._fetcher._records, self._fetcher._closed = {}, False
        self._fetcher._notify, self._fetcher._wait_consume_future = lambda _: None, None

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(*partition) for partition in self.broker}

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[Partition, list[RawRecord]]:
        del timeout_ms
        self._fetch()
        found: Any = await self._fetcher.fetched_records(partitions, 0, max_records=max_records)
        return {Partition(*partition): records for partition, records in found.items()}

    def _fetch(self) -> None:
        """What aiokafka does beside: of each partition of which nothing is fetched, from its position on."""
        for partition, batches in self.broker.items():
            at = self.positions[partition].position
            data = b"".join(raw for base, raw in sorted(batches.items()) if base >= at or _last(raw, base) >= at)
            tp = TopicPartition(*partition)
            if tp in self._fetcher._records or not data:
                continue
            records = fetcher.PartitionRecords(tp, fetcher.MemoryRecords(data), [], at, None, None, True, 0)
            assignment = SimpleNamespace(active=True, state_value=lambda tp: self.positions[Partition(*tp)])
            self._fetcher._records[tp] = fetcher.FetchResult(
                tp, assignment=assignment, backoff=0, partition_records=records
            )


class _State:
    paused = False

    def __init__(self, position: int) -> None:
        self.position = position

    def consumed_to(self, position: int) -> None:
        self.position = position


def _last(raw: bytes, base: int) -> int:
    return base + int(struct.unpack_from(">i", raw, 23)[0])
