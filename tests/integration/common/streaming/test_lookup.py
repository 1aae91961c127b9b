"""Single records by their place, and a topic from end to end, from a real broker."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from chatferry.common.clock import SystemClock
from chatferry.common.errors import OutageError
from chatferry.common.streaming.lookup import RecordLookup
from chatferry.common.streaming.producer import RecordProducer, partition_for
from chatferry.common.streaming.records import Outgoing, Partition
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
COUNT = 7_000
KEYS = (b"1", b"2", b"3")


def _lookup(kafka: str) -> RecordLookup:
    return RecordLookup(kafka, SystemClock(), client_id="tests")


async def _fill(stack: Addresses, topic: str) -> Partition:
    """So many records in one partition, a few in others."""
    producer = RecordProducer(stack.kafka, client_id="tests")
    try:
        await producer.send([Outgoing(topic, b"1", b"%d" % n, (("h", None), ("h", b"x"))) for n in range(COUNT)])
        await producer.send([Outgoing(topic, key, b"other", ()) for key in KEYS[1:]])
    finally:
        await producer.close()
    return Partition(topic, partition_for(b"1", 4))


async def test_records_are_found_by_their_place_over_small_and_large_gaps(
    stack: Addresses, topics: tuple[str, str]
) -> None:
    where = await _fill(stack, topics[0])
    wanted = [6_999, 0, 3, 4, 5_000, 1_400, COUNT + 50]
    async with _lookup(stack.kafka) as lookup:
        found = await lookup.read({where: wanted, Partition(topics[1], 0): [0, 1]})
        assert {offset: record.value for (_, offset), record in found.items()} == {
            offset: b"%d" % offset for offset in wanted if offset < COUNT
        }
        [record] = (await lookup.read({where: [5]})).values()
        assert (record.key, tuple(record.headers)) == (b"1", (("h", None), ("h", b"x")))


async def test_many_places_are_read_without_waiting_for_records_that_do_not_come(
    stack: Addresses, topics: tuple[str, str]
) -> None:
    partitions = {partition_for(b"%d" % key, 4): b"%d" % key for key in range(40)}
    producer = RecordProducer(stack.kafka, client_id="tests")
    try:
        await producer.send([Outgoing(topics[0], key, b"x", ()) for key in partitions.values()])
    finally:
        await producer.close()
    wanted = {Partition(topics[0], number): [0] for number in partitions}
    async with _lookup(stack.kafka) as lookup:
        began = time.monotonic()
        for _ in range(5):
            assert len(await lookup.read(wanted)) == 4
            assert len([record async for batch in lookup.scan(topics[0]) for record in batch]) == 4
        # A long poll at the end of each partition would make it half a minute.
        assert time.monotonic() - began < 15


async def test_a_scan_sees_every_record_once_in_the_order_of_its_partition(
    stack: Addresses, topics: tuple[str, str]
) -> None:
    where = await _fill(stack, topics[0])
    async with _lookup(stack.kafka) as lookup:
        seen = [record async for batch in lookup.scan(topics[0]) for record in batch]
        assert [record async for batch in lookup.scan(topics[1]) for record in batch] == []
    big = [record.offset for record in seen if record.key == b"1"]
    assert big == list(range(COUNT))
    assert {record.partition for record in seen if record.key == b"1"} == {where.partition}
    assert len(seen) == COUNT + 2


async def test_what_the_topic_no_longer_has_is_left_out(stack: Addresses, topics: tuple[str, str]) -> None:
    where = await _fill(stack, topics[0])
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(*where): RecordsToDelete(before_offset=100)})
    finally:
        await admin.close()
    async with _lookup(stack.kafka) as lookup:
        found = await lookup.read({where: [0, 99, 100, 101]})
    assert sorted(offset for _, offset in found) == [100, 101]


async def test_a_broker_that_is_away_is_an_outage() -> None:
    with pytest.raises(OutageError):
        async with _lookup("127.0.0.1:1"):
            pass


async def test_it_ends_at_once_although_it_was_reading_a_moment_ago(stack: Addresses, topics: tuple[str, str]) -> None:
    producer = RecordProducer(stack.kafka, client_id="tests")
    try:
        await producer.send([Outgoing(topics[0], key, b"x", ()) for key in KEYS])
    finally:
        await producer.close()
    for _ in range(3):
        async with asyncio.timeout(10):
            async with _lookup(stack.kafka) as lookup, aclosing(lookup.scan(topics[0])) as scan:
                assert await anext(scan)
