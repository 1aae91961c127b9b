"""What the importers have read: asked of the broker, and never guessed."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.integration.extractor.extractor_world import World

from chatferry.common.entities import FAMILIES
from chatferry.common.streaming.records import Outgoing
from chatferry.extractor.adapters.backlog import KafkaBacklog

pytestmark = pytest.mark.integration


async def commit_everything(world: World, topic: str) -> None:
    """As an importer that has read the topic to its end."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.addresses.kafka, group_id=f"{world.project}.importer", enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(2)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.commit({partition: offset for partition, offset in ends.items() if offset})
    finally:
        await consumer.stop()


async def test_publications_that_no_importer_has_read_are_not_taken_for_lost(world: World) -> None:
    backlog = KafkaBacklog(world.addresses.kafka, world.database, world.project)
    topic = f"{world.project}.chats"
    assert await backlog.empty(FAMILIES["chats"])
    await world.producer.send([Outgoing(topic, b"1", b"{}", ())])
    assert not await backlog.empty(FAMILIES["chats"])
    await commit_everything(world, topic)
    assert await backlog.empty(FAMILIES["chats"])
