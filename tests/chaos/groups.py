"""What Kafka itself wrote down of a consumer group: its generations, one for each rebalance."""

from __future__ import annotations

import asyncio
import struct

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

_OFFSETS = "__consumer_offsets"
_GROUP_KEY = 2


def generations(kafka: str, group: str) -> set[int]:
    """Every generation that the group has had, as far as the log still holds it."""
    return asyncio.run(_generations(kafka, group))


def members(kafka: str, group: str) -> int:
    """How many consumers the group has now, each with its share; 0 while it is shared out anew."""
    return asyncio.run(_members(kafka, group))


async def _members(kafka: str, group: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        [answer] = await admin.describe_consumer_groups([group])
        [told] = answer.to_object()["groups"]
        return len(told["members"]) if told["state"] == "Stable" else 0
    finally:
        await admin.close()


async def _generations(kafka: str, group: str) -> set[int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest", exclude_internal_topics=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(_OFFSETS, number) for number in await _partitions(kafka)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: set[int] = set()
        while any([await consumer.position(one) < ends[one] for one in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found |= {generation for record in records if (generation := _read(record.key, record.value, group))}
        assert found, f"Kafka knows no group {group}"
        return found
    finally:
        await consumer.stop()


async def _partitions(kafka: str) -> list[int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        [topic] = await admin.describe_topics([_OFFSETS])
        return [one["partition"] for one in topic["partitions"]]
    finally:
        await admin.close()


def _read(key: bytes, value: bytes | None, group: str) -> int | None:
    """Key: version, group. Value: version, protocol type, generation (kafka.coordinator.group.GroupMetadataValue)."""
    name = struct.pack(">hh", _GROUP_KEY, len(group.encode())) + group.encode()
    if value is None or key != name:
        return None
    [length] = struct.unpack_from(">h", value, 2)
    return int(struct.unpack_from(">i", value, 4 + max(length, 0))[0])
