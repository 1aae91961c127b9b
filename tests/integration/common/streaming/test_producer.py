"""The producer against a real broker."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from chatferry.common.errors import OutageError, PermanentError
from chatferry.common.streaming.producer import RecordProducer, partition_for
from chatferry.common.streaming.records import Outgoing
from chatferry.stack import Addresses, LocalStack

pytestmark = pytest.mark.integration


async def _read(stack: Addresses, topic: str) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(4)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[ConsumerRecord] = []
        while len(records) < sum(ends.values()):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def test_order_holds_within_each_partition_over_many_batches(stack: Addresses, topics: tuple[str, str]) -> None:
    producer = RecordProducer(stack.kafka, client_id="tests", batch_bytes=4_000)
    sent = [Outgoing(topics[0], b"%d" % (n % 7), b"%d" % n, [("h", None), ("h", b"%d" % n)]) for n in range(2_000)]
    await producer.send(sent)
    await producer.close()
    records = await _read(stack, topics[0])
    assert len(records) == 2_000
    for number in range(4):
        mine = [int(r.value) for r in records if r.partition == number]
        assert mine == sorted(mine)
    assert all(record.partition == partition_for(record.key, 4) for record in records)
    assert records[0].headers[0] == ("h", None)


async def test_null_keys_and_values_go_through_as_they_are(stack: Addresses, topics: tuple[str, str]) -> None:
    producer = RecordProducer(stack.kafka, client_id="tests")
    await producer.send([Outgoing(topics[0], None, b"v", ()), Outgoing(topics[0], b"k", None, ())])
    await producer.close()
    assert {(r.key, r.value) for r in await _read(stack, topics[0])} == {(None, b"v"), (b"k", None)}


async def test_what_fits_by_estimate_is_never_refused_as_larger_than_a_batch(
    stack: Addresses, topics: tuple[str, str]
) -> None:
    producer = RecordProducer(stack.kafka, client_id="tests", batch_bytes=10_000)
    headers = (("a", b"x" * 50), ("b", None))
    sizes = [size for size in range(9_700, 10_001) if producer.fits(Outgoing(topics[0], b"k", b"v" * size, headers))]
    assert sizes
    assert max(sizes) < 10_000
    await producer.send([Outgoing(topics[0], b"k", b"v" * max(sizes), headers)])
    await producer.close()


async def test_a_record_larger_than_a_batch_is_refused_by_name_of_the_topic(
    stack: Addresses, topics: tuple[str, str]
) -> None:
    producer = RecordProducer(stack.kafka, client_id="tests", batch_bytes=10_000)
    with pytest.raises(PermanentError) as refused:
        await producer.send([Outgoing(topics[0], b"k", os.urandom(20_000), ())])
    assert refused.value.code == "record.too_large"
    await producer.send([Outgoing(topics[0], b"k", b"small", ())])
    await producer.close()
    assert [r.value for r in await _read(stack, topics[0])] == [b"small"]


async def test_a_record_that_the_broker_refuses_for_its_size_is_no_outage(
    stack: Addresses, topics: tuple[str, str]
) -> None:
    producer = RecordProducer(stack.kafka, client_id="tests", batch_bytes=8_000_000)
    with pytest.raises(PermanentError):
        await producer.send([Outgoing(topics[0], b"k", os.urandom(4_000_000), ())])
    await producer.send([Outgoing(topics[0], b"k", b"small", ())])
    await producer.close()


async def test_many_sends_at_once_share_one_connection(stack: Addresses, topics: tuple[str, str]) -> None:
    producer = RecordProducer(stack.kafka, client_id="tests")
    await asyncio.gather(*[producer.send([Outgoing(topics[0], b"%d" % n, b"v", ())]) for n in range(50)])
    await producer.close()
    assert len(await _read(stack, topics[0])) == 50


async def test_a_broker_that_is_away_is_an_outage_and_the_next_send_tries_anew() -> None:
    producer = RecordProducer("127.0.0.1:1", client_id="tests")
    for _ in range(2):
        with pytest.raises(OutageError):
            await producer.send([Outgoing("t", b"k", b"v", ())])
    await producer.close()


async def test_a_broker_that_dies_under_way_is_an_outage_in_time_and_nothing_of_it_arrives_late(
    own_stack: LocalStack,
) -> None:
    addresses = await asyncio.to_thread(own_stack.up)
    admin = AIOKafkaAdminClient(bootstrap_servers=addresses.kafka)
    await admin.start()
    await admin.create_topics([NewTopic("t", 4, 1)])
    await admin.close()
    producer = RecordProducer(addresses.kafka, client_id="tests", timeout_ms=3_000)
    await producer.send([Outgoing("t", b"k", b"before", ())])
    [kafka] = [part.pid for part in own_stack.status() if part.name == "kafka"]
    assert kafka is not None
    os.kill(kafka, signal.SIGKILL)
    for number in range(2):
        with pytest.raises(OutageError):
            async with asyncio.timeout(8):
                await producer.send([Outgoing("t", b"k", b"lost %d" % number, ())])
    left = [task for task in asyncio.all_tasks() if "sender" in repr(task.get_coro())]
    assert left == [], "a connection that was given up goes on sending"
    await asyncio.to_thread(own_stack.up)
    await producer.send([Outgoing("t", b"k", b"after", ())])
    await producer.close()
    assert [record.value for record in await _read(addresses, "t")] == [b"before", b"after"]


async def test_a_broker_that_hangs_is_an_outage_in_time_and_what_it_took_before_stays_before(
    own_stack: LocalStack,
) -> None:
    addresses = await asyncio.to_thread(own_stack.up)
    admin = AIOKafkaAdminClient(bootstrap_servers=addresses.kafka)
    await admin.start()
    await admin.create_topics([NewTopic("t", 4, 1)])
    await admin.close()
    producer = RecordProducer(addresses.kafka, client_id="tests", timeout_ms=6_000)
    await producer.send([Outgoing("t", b"k", b"before", ())])
    [kafka] = [part.pid for part in own_stack.status() if part.name == "kafka"]
    assert kafka is not None
    os.kill(kafka, signal.SIGSTOP)
    try:
        # A busy machine takes its time over it, and so long the broker answers.
        async with asyncio.timeout(10):
            while psutil.Process(kafka).status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        with pytest.raises(OutageError):
            async with asyncio.timeout(10):
                await producer.send([Outgoing("t", b"k", b"hung", ())])
    finally:
        os.kill(kafka, signal.SIGCONT)
    await producer.send([Outgoing("t", b"k", b"after", ())])
    await producer.close()
    values = [record.value for record in await _read(addresses, "t")]
    assert values in ([b"before", b"after"], [b"before", b"hung", b"after"])
