"""How much one poll takes."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError
from tests.unit.common.streaming.streaming_fakes import FakeConsumer, ManualClock, record

from chatferry.common.streaming.polling import Polling
from chatferry.common.streaming.records import Partition


def _consumer(count: int, size: int) -> FakeConsumer:
    consumer = FakeConsumer()
    consumer.log.extend(record(offset, size, offset % 3) for offset in range(count))
    Polling(ManualClock(), ("t",), (KafkaError,), most_bytes=1_000_000, longest_work_s=60).take_over(consumer)
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


async def test_what_was_fetched_of_an_earlier_topic_is_not_passed_over_for_a_later_one() -> None:
    consumer = FakeConsumer()
    consumer.log.extend(record(offset, topic="messages") for offset in range(3_000))
    consumer.log.extend(record(offset, topic="chats", partition=offset % 2) for offset in range(120))
    polling = Polling(ManualClock(), ("chats", "messages"), (KafkaError,), most_bytes=1_000_000, longest_work_s=60)
    polling.take_over(consumer)
    polled = await consumer.getmany(timeout_ms=50, max_records=2_000)
    assert {(partition.topic, partition.partition): len(found) for partition, found in polled.items()} == {
        ("chats", 0): 60,
        ("chats", 1): 60,
        ("messages", 0): 1_880,
    }


async def test_an_error_in_the_middle_of_a_poll_loses_nothing_of_it() -> None:
    consumer = FakeConsumer()
    consumer.log.extend(record(offset) for offset in range(60))
    plain = consumer.getmany

    async def failing(*partitions: Partition, timeout_ms: int, max_records: int) -> object:
        if len(consumer.log) < 60:
            raise KafkaConnectionError
        return await plain(*partitions, timeout_ms=timeout_ms, max_records=max_records)

    consumer.getmany = failing  # type: ignore[assignment]
    Polling(ManualClock(), ("t",), (KafkaError,), most_bytes=1_000, longest_work_s=60).take_over(consumer)
    assert sum(map(len, (await consumer.getmany(timeout_ms=50, max_records=2_000)).values())) == 50
