"""What the importers have not read yet, and what they never will because its publication is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.documents import PARKED, WAITING
from chatferry.common.entities import Entity, Family
from chatferry.common.errors import OutageError
from chatferry.extractor.adapters.progress import with_needed

_AT_ONCE = 1_000


class KafkaBacklog:
    """The Backlog port: offsets of the importers' group beside the ends of the topics."""

    def __init__(self, bootstrap: str, database: Database, project: str) -> None:
        self._bootstrap, self._database, self._project = bootstrap, database, project

    async def empty(self, family: Family) -> bool:
        topics = [f"{self._project}.{entity.name}" for entity in with_needed(family)]
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        try:
            await admin.start()
            await consumer.start()
            # Not the consumer's own metadata: without a subscription it holds no topic.
            told = await admin.describe_topics(topics)
            committed = await admin.list_consumer_group_offsets(f"{self._project}.importer")
            return await _all_read(consumer, told, committed)
        except KafkaError as away:
            raise OutageError("kafka", "Kafka does not say how far the importers have read; asked again") from away
        finally:
            await consumer.stop()
            await admin.close()

    async def lost(self, family: Family) -> int:
        marked = 0
        with mongo_outage():
            for entity in with_needed(family):
                marked += await self._mark(entity)
        return marked

    async def _mark(self, entity: Entity) -> int:
        marked, keys = 0, []
        waiting = {"status": {"$in": list(WAITING)}, "due": {"$ne": True}, "payload": {"$ne": None}}
        async for record in self._database[entity.name].find(waiting, {"_id": 1}):
            keys.append(record["_id"])
            if len(keys) == _AT_ONCE:
                marked += await self._mark_unparked(entity, keys)
                keys = []
        return marked + await self._mark_unparked(entity, keys)

    async def _mark_unparked(self, entity: Entity, keys: list[str]) -> int:
        parked = self._database[PARKED].find({"entity": entity.name, "key": {"$in": keys}}, {"key": 1})
        in_line = {row["key"] async for row in parked}
        lost = [key for key in keys if key not in in_line]
        unsettled = {"_id": {"$in": lost}, "status": {"$in": list(WAITING)}}
        result = await self._database[entity.name].update_many(unsettled, {"$set": {"due": True}})
        return int(result.modified_count)


async def _all_read(
    consumer: AIOKafkaConsumer, told: Sequence[Mapping[str, Any]], committed: Mapping[TopicPartition, OffsetAndMetadata]
) -> bool:
    if any(topic["error_code"] for topic in told):
        return False
    parts = [TopicPartition(topic["topic"], part["partition"]) for topic in told for part in topic["partitions"]]
    begins, ends = await consumer.beginning_offsets(parts), await consumer.end_offsets(parts)
    # What was deleted from a topic before it was read leaves offsets that nobody will ever commit.
    return all(ends[part] <= max(begins[part], committed[part].offset if part in committed else 0) for part in parts)
