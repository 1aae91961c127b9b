"""How far a run is, from what MongoDB holds: never from consumer lag (design §3.1)."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chatferry.common.adapters.mongo import Database, Document, mongo_outage
from chatferry.common.contracts.schemas import mapping_fingerprint
from chatferry.common.documents import ENTITY_STATES, IMPORT_ERR, PARKED, VERIFY_REPORTS, WAITING, indexes
from chatferry.common.entities import FAMILIES, Entity, Family
from chatferry.common.errors import OutageError
from chatferry.common.ledger import account
from chatferry.common.portal.preflight import Check
from chatferry.common.streaming.producer import RecordProducer
from chatferry.extractor.ports import Waiting

_SETUP = "`chatferry bootstrap` creates it"


class MongoProgress:
    """The Progress port on the project's database, with the parts that a run stands on."""

    def __init__(self, database: Database, redis: Redis, producer: RecordProducer, project: str) -> None:
        self._database, self._redis, self._producer, self._project = database, redis, producer, project

    async def waiting(self, family: Family) -> Waiting:
        with mongo_outage():
            state = await self._database[ENTITY_STATES].find_one({"_id": family.name}) or {}
            waiting = stuck = 0
            for entity in _with_users(family):
                unsettled = {"status": {"$in": list(WAITING)}}
                if await self._database[entity.name].find_one(unsettled, {"_id": 1}) is None:
                    continue
                waiting += await self._database[entity.name].count_documents(unsettled)
                stuck += await self._stuck(entity)
        return Waiting(waiting, stuck, state.get("blocked"))

    async def _stuck(self, entity: Entity) -> int:
        if entity.parent is None:
            return 0
        dead = self._database[entity.parent].find({"status": IMPORT_ERR}, {"seq": 1})
        parents = [doc["seq"] async for doc in dead]
        if not parents:
            return 0
        return int(await self._database[PARKED].count_documents({"entity": entity.name, "parent": {"$in": parents}}))

    async def counts(self, family: Family) -> dict[str, dict[str, int]]:
        with mongo_outage():
            accounts = {entity.name: await account(self._database, entity, family) for entity in family.entities}
        return {
            name: {
                "read": one.read,
                "imported": one.done,
                "skipped": sum(one.skipped.values()),
                "dead": one.dead,
                "waiting": one.waiting,
            }
            for name, one in accounts.items()
        }

    async def report(self, run: str) -> dict[str, Any] | None:
        finished = {"run": run, "finished_at": {"$ne": None}}
        with mongo_outage():
            found: Document | None = await self._database[VERIFY_REPORTS].find_one(finished, {"verified": 1})
        return found

    async def storage(self, family: Family) -> list[Check]:
        return [
            Check("infra.storage.ready", *await self._storage(family)),
            Check("mapping.done", *await self._mapping()),
        ]

    async def _storage(self, family: Family) -> tuple[bool, str]:
        try:
            with mongo_outage():
                for name in {index.collection for index in indexes()}:
                    there = set(await self._database[name].index_information())
                    wanted = {index.name for index in indexes() if index.collection == name}
                    if not wanted <= there:
                        return False, f"collection {name} lacks an index; {_SETUP}"
            await self._redis.ping()
            for entity in family.entities:
                if not await self._producer.has_topic(f"{self._project}.{entity.name}"):
                    return False, f"topic {self._project}.{entity.name} does not exist; {_SETUP}"
        except (RedisError, OSError):
            return False, "Redis does not answer; start it (`chatferry stack up`) or correct CHATFERRY_REDIS"
        except OutageError as away:
            return False, f"{away.sentence}; start it (`chatferry stack up`) or correct its address"
        return True, "MongoDB, Redis and Kafka answer; indexes and topics are there"

    async def _mapping(self) -> tuple[bool, str]:
        with mongo_outage():
            stored = await self._database[ENTITY_STATES].find_one({"_id": "mapping"})
        if stored is None:
            return False, "the project's mapping is not recorded; `chatferry bootstrap` records it"
        if stored["fingerprint"] != mapping_fingerprint():
            return False, "record shapes have changed since the project was set up; run `chatferry bootstrap` again"
        return True, f"{len(FAMILIES)} families are mapped, as this version maps them"


def _with_users(family: Family) -> list[Entity]:
    entities = [entity for need in family.needs for entity in FAMILIES[need].entities]
    return [*entities, *family.entities]
