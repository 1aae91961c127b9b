"""`infra.storage.ready` and `mapping.done`: what every run stands on; its preflight and `chatferry doctor` ask."""

from __future__ import annotations

from collections.abc import Iterable

from redis.asyncio import Redis

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.adapters.redis import REDIS_AWAY
from chatferry.common.contracts.schemas import mapping_fingerprint
from chatferry.common.documents import ENTITY_STATES, indexes
from chatferry.common.entities import FAMILIES, Entity, Family
from chatferry.common.errors import OutageError
from chatferry.common.portal.preflight import Check
from chatferry.common.streaming.producer import RecordProducer

_SETUP = "`chatferry bootstrap` creates it"


class StorageChecks:
    """Looks at the project's database, topics and Redis; changes nothing."""

    def __init__(self, database: Database, redis: Redis, producer: RecordProducer, project: str) -> None:
        self._database, self._redis, self._producer, self._project = database, redis, producer, project

    async def checks(self, family: Family) -> list[Check]:
        """As a run of the family asks them."""
        return await self.of(family.entities)

    async def of(self, entities: Iterable[Entity]) -> list[Check]:
        """Of the topics of these entities. OutageError when MongoDB is away."""
        return [
            Check("infra.storage.ready", *await self._storage(entities)),
            Check("mapping.done", *await self._mapping()),
        ]

    async def _storage(self, entities: Iterable[Entity]) -> tuple[bool, str]:
        try:
            if (collection := await self._without_index()) is not None:
                return False, f"collection {collection} lacks an index; {_SETUP}"
            await self._redis.ping()
            for entity in entities:
                if not await self._producer.has_topic(f"{self._project}.{entity.name}"):
                    return False, f"topic {self._project}.{entity.name} does not exist; {_SETUP}"
        except REDIS_AWAY:
            return False, "Redis does not answer; start it (`chatferry stack up`) or correct CHATFERRY_REDIS"
        except OutageError as away:
            return False, f"{away.sentence}; start it (`chatferry stack up`) or correct its address"
        return True, "MongoDB, Redis and Kafka answer; indexes and topics are there"

    async def _without_index(self) -> str | None:
        with mongo_outage():
            for name in sorted({index.collection for index in indexes()}):
                there = set(await self._database[name].index_information())
                if not {index.name for index in indexes() if index.collection == name} <= there:
                    return name
        return None

    async def _mapping(self) -> tuple[bool, str]:
        with mongo_outage():
            stored = await self._database[ENTITY_STATES].find_one({"_id": "mapping"})
        if stored is None:
            return False, "the project's mapping is not recorded; `chatferry bootstrap` records it"
        if stored["fingerprint"] != mapping_fingerprint():
            return False, "record shapes have changed since the project was set up; run `chatferry bootstrap` again"
        return True, f"{len(FAMILIES)} families are mapped, as this version maps them"
