"""How far a run is, from what MongoDB holds: never from consumer lag (design §3.1)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chatferry.common.adapters.mongo import Database, Document, mongo_outage
from chatferry.common.documents import ENTITY_STATES, IMPORT_ERR, PARKED, VERIFY_REPORTS, WAITING
from chatferry.common.entities import FAMILIES, Entity, Family
from chatferry.common.ledger import account
from chatferry.extractor.ports import Waiting

_UNSETTLED = {"status": {"$in": list(WAITING)}}


class MongoProgress:
    """The Progress port on the project's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def settled(self, family: Family) -> bool:
        with mongo_outage():
            state = await self._database[ENTITY_STATES].find_one({"_id": family.name}) or {}
            for entity in with_needed(family):
                if await self._database[entity.name].find_one(_UNSETTLED, {"_id": 1}) is not None:
                    return False
        return not state.get("blocked")

    async def waiting(self, family: Family) -> Waiting:
        waiting = parked = stuck = 0
        with mongo_outage():
            state = await self._database[ENTITY_STATES].find_one({"_id": family.name}) or {}
            for entity in with_needed(family):
                waiting += await self._database[entity.name].count_documents(_UNSETTLED)
                parked += await self._database[PARKED].count_documents({"entity": entity.name})
                stuck += await self._stuck(entity)
        return Waiting(waiting, parked, stuck, state.get("blocked"))

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

    async def report(self, run: str, asked_at: datetime) -> dict[str, Any] | None:
        finished = {"run": run, "asked_at": asked_at, "finished_at": {"$ne": None}}
        with mongo_outage():
            found: Document | None = await self._database[VERIFY_REPORTS].find_one(finished, {"verified": 1})
        return found


def with_needed(family: Family) -> list[Entity]:
    """The family's entities, and those it needs: strangers of a chat run are users."""
    needed = [entity for need in family.needs for entity in FAMILIES[need].entities]
    return [*needed, *family.entities]
