"""What the importers have not read yet is no lost publication; what is on no topic any more is one."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from tests.integration.extractor.extractor_world import World

from chatferry.common.entities import FAMILIES
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing
from chatferry.extractor.adapters.backlog import KafkaBacklog

pytestmark = pytest.mark.integration


async def test_a_record_that_no_importer_has_read_is_a_backlog(world: World) -> None:
    backlog = KafkaBacklog(world.addresses.kafka, world.database, world.project)
    assert await backlog.empty(FAMILIES["chats"])
    producer = RecordProducer(world.addresses.kafka, client_id="test")
    try:
        await producer.send([Outgoing(f"{world.project}.chat_messages", b"5", b"{}", ())])
    finally:
        await producer.close()
    assert not await backlog.empty(FAMILIES["chats"])


async def delete_everything(world: World) -> None:
    """As a retention does that somebody has set, or `kafka-delete-records`."""
    names = ("users", "chats", "chat_messages")
    places = [TopicPartition(f"{world.project}.{name}", part) for name in names for part in (0, 1)]
    consumer = AIOKafkaConsumer(bootstrap_servers=world.addresses.kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=world.addresses.kafka)
    await consumer.start()
    await admin.start()
    try:
        ends = await consumer.end_offsets(places)
        assert any(ends.values())
        await admin.delete_records({place: RecordsToDelete(before_offset=end) for place, end in ends.items()})
    finally:
        await admin.close()
        await consumer.stop()


async def test_what_was_deleted_from_the_topics_before_it_was_read_is_due_again(world: World) -> None:
    """Nobody has committed, and nobody will: there is nothing to read."""
    backlog, chats = KafkaBacklog(world.addresses.kafka, world.database, world.project), FAMILIES["chats"]
    await world.get()
    assert not await backlog.empty(chats)
    await delete_everything(world)
    assert await backlog.empty(chats)
    waiting = {"status": "NEW"}
    await world.database.chat_messages.update_one(waiting, {"$set": {"status": "IMPORT_OK"}})
    expected = 0
    for name in ("users", "chats", "chat_messages"):
        expected += await world.database[name].count_documents(waiting)
    assert await backlog.lost(chats) == expected > 0
    assert await world.database.chat_messages.count_documents({**waiting, "due": None}) == 0
    assert await world.database.chat_messages.count_documents({"status": "IMPORT_OK", "due": True}) == 0
