"""What aiokafka stumbles over takes nothing else along, and is told of."""

from __future__ import annotations

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaError
from tests.unit.common.streaming.fetched import FetchingConsumer, batch
from tests.unit.common.streaming.streaming_fakes import ManualClock

from chatferry.common.streaming.batches import mend_batches
from chatferry.common.streaming.polling import Polling
from chatferry.common.streaming.records import Partition, RawRecord

FIRST, SECOND = Partition("t", 0), Partition("t", 1)


@pytest.fixture(autouse=True)
def _mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
    mend_batches()


async def _polled(consumer: FetchingConsumer, polls: int) -> dict[Partition, list[RawRecord]]:
    found: dict[Partition, list[RawRecord]] = {}
    for _ in range(polls):
        for partition, records in (await consumer.getmany(timeout_ms=50, max_records=7)).items():
            found.setdefault(partition, []).extend(records)
    return found


def _polling(clock: ManualClock) -> Polling:
    return Polling(clock, ("t",), (KafkaError,), most_bytes=1_000_000, longest_work_s=60)


def _offsets(records: list[RawRecord]) -> list[int]:
    return [record.offset for record in records]


@pytest.mark.parametrize("compression", [0, 1], ids=["plain", "gzip"])
async def test_a_header_whose_name_is_no_utf8_comes_escaped_and_all_else_as_it_is(compression: int) -> None:
    broker = {
        FIRST: [(5, batch(5, 9))],
        SECOND: [(10, batch(10, 9, compression=compression, named=(13, 14))), (19, batch(19, 4))],
    }
    consumer = FetchingConsumer(broker)
    _polling(ManualClock()).take_over(consumer)
    found = await _polled(consumer, 8)
    assert _offsets(found[FIRST]) == list(range(5, 14))
    assert _offsets(found[SECOND]) == list(range(10, 23))
    names = {record.offset: record.headers for record in found[SECOND] if record.headers[0][0] != "plain"}
    assert names == dict.fromkeys((13, 14), (("\\xff\\xfe\x00\\xc3d", b"named"),))
    assert [record.value for record in found[SECOND][:5]] == [b"named %d" % index for index in range(5)]


async def test_a_batch_that_cannot_be_read_stops_its_partition_alone_and_is_told_of() -> None:
    consumer = FetchingConsumer(
        {
            FIRST: [(0, batch(0, 20)), (20, batch(20, 20))],
            SECOND: [(10, batch(10, 3)), (13, batch(13, 3, torn=True))],
        }
    )
    clock = ManualClock()
    polling = _polling(clock)
    polling.assigned(now=True)
    polling.take_over(consumer)
    found = await _polled(consumer, 12)
    assert _offsets(found[FIRST]) == list(range(40))
    assert _offsets(found.get(SECOND, [])) in ([], [10, 11, 12])
    assert polling.wrong() is None
    clock.seconds += 31
    await consumer.getmany(timeout_ms=50, max_records=7)
    assert "partition 1 of t cannot be read (CorruptRecordException)" in (polling.wrong() or "")
    at = consumer.positions[SECOND].position
    consumer.broker[SECOND] = {10: batch(10, 3), 13: batch(13, 3)}
    again = await _polled(consumer, 4)
    assert _offsets(found.get(SECOND, []) + again[SECOND]) == list(range(10, 16))
    assert at == again[SECOND][0].offset
    assert polling.wrong() is None
