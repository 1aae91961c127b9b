"""How far a run is, from what MongoDB holds: never from consumer lag (design §3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from chatferry.common.adapters.mongo import Database, Document, mongo_outage
from chatferry.common.counts import count_all, count_parked_keys
from chatferry.common.documents import (
    DEAD_LETTERS,
    ENTITY_STATES,
    IMPORT_ERR,
    INVENTORY,
    VERIFY_REPORTS,
    WAITING,
)
from chatferry.common.entities import FAMILIES, Entity, Family
from chatferry.common.ledger import account
from chatferry.extractor.adapters.acceptance import ACCEPTED
from chatferry.extractor.ports import Waiting

_BY_IMPORTER = {"service": "importer", "line": {"$ne": None}}
_PARENTS_AT_ONCE = 50_000
Holding = tuple[str, Document, str]
"""A collection, which of its documents hold records back, and the field that names whose."""
_UNSETTLED = {"status": {"$in": list(WAITING)}}


class MongoProgress:
    """The Progress port on the project's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def settled(self, family: Family) -> bool:
        with mongo_outage():
            for entity in with_needed(family):
                if await self._database[entity.name].find_one(_UNSETTLED, {"_id": 1}) is not None:
                    return False
        return await self._blocked(family) is None

    async def waiting(self, family: Family) -> Waiting:
        waiting = parked = stuck = 0
        with mongo_outage():
            for entity in with_needed(family):
                waiting += await self._database[entity.name].count_documents(_UNSETTLED)
                parked += await count_parked_keys(self._database, entity)
                stuck += await self._stuck(entity)
        return Waiting(waiting, parked, stuck, await self._blocked(family))

    async def _blocked(self, family: Family) -> str | None:
        """The importer notes it at the family that it met first: strangers of a chat run are users."""
        stopped = [{"blocked": {"$ne": None}}, {"halted": {"$ne": None}}]
        families = {"_id": {"$in": [*family.needs, family.name]}, "$or": stopped}
        with mongo_outage():
            state = await self._database[ENTITY_STATES].find_one(families, {"blocked": 1, "halted": 1})
        return None if state is None else str(state.get("blocked") or state["halted"])

    async def _stuck(self, entity: Entity) -> int:
        """Records that only a person moves: of dead parents, behind one that is dead for now, of failed walks."""
        if entity.parent is None:
            return 0
        failed = {
            "kind": "root",
            "entity": entity.parent,
            "state": {"$in": ["failed", "unreadable"]},
            "$nor": [ACCEPTED],
        }
        ahead = {"entity": entity.name, "state": {"$in": ["dead", "replaying"]}, "error_class": "exhausted"}
        holding: list[Holding] = [
            (entity.parent, {"parent": None, "status": IMPORT_ERR}, "seq"),
            (INVENTORY, failed, "seq"),
            (DEAD_LETTERS, {**ahead, **_BY_IMPORTER}, "line"),
        ]
        stuck = after = 0
        while parents := await self._next_parents(holding, after):
            held = {**_UNSETTLED, "parent": {"$in": parents}}
            stuck += await self._database[entity.name].count_documents(held)
            after = parents[-1]
        return stuck

    async def _next_parents(self, holding: Sequence[Holding], after: int) -> list[int]:
        """The lowest ids above `after` that any of them names: as many as one question may list."""
        found: set[int] = set()
        for collection, query, field in holding:
            stages: list[Document] = [
                {"$match": {"$and": [query, {field: {"$gt": after}}]}},
                {"$group": {"_id": f"${field}"}},
                {"$sort": {"_id": 1}},
                {"$limit": _PARENTS_AT_ONCE},
            ]
            found |= {row["_id"] async for row in self._database[collection].aggregate(stages, allowDiskUse=True)}
        return sorted(found)[:_PARENTS_AT_ONCE]

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


class MongoTally:
    """The Tally port on the project's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def counts(self, family: Family, run: str) -> dict[str, dict[str, int]]:
        found = [asdict(one) for one in await count_all(self._database, family, run)]
        return {one.pop("entity"): one for one in found}


def with_needed(family: Family) -> list[Entity]:
    """The family's entities, and those it needs: strangers of a chat run are users."""
    needed = [entity for need in family.needs for entity in FAMILIES[need].entities]
    return [*needed, *family.entities]
