"""How much one poll takes."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError
from tests.unit.common.streaming.streaming_fakes import FakeConsumer, ManualClock, record

from chatferry.common.streaming.polling import Polling


def _consumer(count: int, size: int) -> FakeConsumer:
    consumer = FakeConsumer()
    consumer.log.extend(record(offset, size, offset % 3) for offset in range(count))
    Polling(ManualClock(), (KafkaError,), most_bytes=1_000_000, longest_work_s=60).take_over(consumer)
    return consumer


@pytest.mark.parametrize(("size", "polled"), [(10, 2_000), (1_000, 1_000), (100_000, 50)])
async def test_a_poll_ends_once_it_holds_enough_records_or_bytes(size: int, polled: int) -> None:
    consumer = _consumer(3_000, size)
    records = await consumer.getmany(timeout_ms=50, max_records=2_000)
    assert sum(map(len, records.values())) == polled
    for found in records.values():
        assert [one.offset for one in found] == sorted(one.offset for one in found)


async def test_a_poll_takes_what_there_is() -> None:
    consumer = _consumer(70, 10)
    assert sum(map(len, (await consumer.getmany(timeout_ms=50, max_records=2_000)).values())) == 70
    assert await consumer.getmany(timeout_ms=50, max_records=2_000) == {}


async def test_an_error_in_the_middle_of_a_poll_loses_nothing_of_it() -> None:
    consumer = FakeConsumer()
    consumer.log.extend(record(offset) for offset in range(60))
    plain = consumer.getmany

    async def failing(*, timeout_ms: int, max_records: int) -> object:
        if len(consumer.log) < 60:
            raise KafkaConnectionError
        return await plain(timeout_ms=timeout_ms, max_records=max_records)

    consumer.getmany = failing  # type: ignore[assignment]
    Polling(ManualClock(), (KafkaError,), most_bytes=1_000, longest_work_s=60).take_over(consumer)
    assert sum(map(len, (await consumer.getmany(timeout_ms=50, max_records=2_000)).values())) == 50
