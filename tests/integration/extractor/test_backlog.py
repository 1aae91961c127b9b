"""What the importers have not read yet is no lost publication."""

from __future__ import annotations

import pytest
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
