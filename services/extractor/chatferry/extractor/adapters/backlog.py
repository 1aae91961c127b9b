"""What the importers have not read yet, and what they never will because its publication is gone."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

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
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=f"{self._project}.importer", enable_auto_commit=False
        )
        try:
            await consumer.start()
            await consumer.topics()
            return await _all_read(consumer, topics)
        except KafkaError as away:
            raise OutageError("kafka", "Kafka does not say how far the importers have read; asked again") from away
        finally:
            await consumer.stop()

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


async def _all_read(consumer: AIOKafkaConsumer, topics: list[str]) -> bool:
    for topic in topics:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            if (await consumer.committed(partition) or 0) < ends[partition]:
                return False
    return True
