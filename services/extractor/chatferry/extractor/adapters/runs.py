"""`runs`, `entities` and `leases`. MongoDB's own clock decides who drives (data.md §2)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from chatferry.common.adapters.mongo import Database, Document, DuplicateKeyError, ReturnDocument, mongo_outage
from chatferry.common.documents import ENTITY_STATES, LEASES, RUNS
from chatferry.common.errors import LeaseLostError
from chatferry.extractor.adapters.fence import not_newer
from chatferry.extractor.ports import Lease, RunDocument

_UNDER_WAY = ("requested", "running")


class MongoLeases:
    """The Leases port. `seconds`: how long a holder that says nothing keeps it."""

    def __init__(self, database: Database, owner: str, seconds: float) -> None:
        self._leases, self._owner = database[LEASES], owner
        self._until = {"$dateAdd": {"startDate": "$$NOW", "unit": "millisecond", "amount": int(seconds * 1000)}}

    async def acquire(self, portal: str) -> Lease | None:
        seconds = {"$toLong": {"$divide": [{"$toLong": "$$NOW"}, 1000]}}
        epoch = {"$max": [{"$add": [{"$ifNull": ["$epoch", 0]}, 1]}, seconds]}
        free = {"_id": f"portal:{portal}", "$expr": {"$lt": ["$until", "$$NOW"]}}
        taken = [{"$set": {"owner": self._owner, "until": self._until, "epoch": epoch}}]
        with mongo_outage():
            # An upsert may not hold $expr: the document is made first, as one that has run out.
            never = {"until": datetime.fromtimestamp(0, UTC), "epoch": 0}
            with suppress(DuplicateKeyError):
                await self._leases.update_one({"_id": f"portal:{portal}"}, {"$setOnInsert": never}, upsert=True)
            doc: Document | None = await self._leases.find_one_and_update(
                free, taken, return_document=ReturnDocument.AFTER
            )
        if doc is None:
            return None
        return Lease(portal, self._owner, int(doc["epoch"]))

    async def renew(self, lease: Lease) -> None:
        mine = {"_id": f"portal:{lease.portal}", "owner": lease.owner, "epoch": lease.epoch}
        with mongo_outage():
            result = await self._leases.update_one(mine, [{"$set": {"until": self._until}}])
        if not result.matched_count:
            raise LeaseLostError("another extractor has taken the portal")

    async def release(self, lease: Lease) -> None:
        mine = {"_id": f"portal:{lease.portal}", "owner": lease.owner, "epoch": lease.epoch}
        with mongo_outage():
            await self._leases.update_one(mine, [{"$set": {"until": {"$subtract": ["$$NOW", 1]}}}])


class MongoRuns:
    """The Runs port on the project's database."""

    def __init__(self, database: Database) -> None:
        self._runs, self._entities = database[RUNS], database[ENTITY_STATES]

    async def next(self) -> RunDocument | None:
        with mongo_outage():
            found: Document | None = await self._runs.find_one(
                {"state": {"$in": list(_UNDER_WAY)}}, sort=[("requested_at", 1)]
            )
        return found

    async def update(self, run: str, epoch: int, fields: Mapping[str, Any]) -> None:
        mine = {"_id": run, **not_newer(epoch)}
        with mongo_outage():
            result = await self._runs.update_one(mine, {"$set": {**fields, "epoch": epoch}})
        if not result.matched_count:
            raise LeaseLostError("another extractor drives this run now")

    async def add(self, run: str, epoch: int, amounts: Mapping[str, int]) -> None:
        mine = {"_id": run, **not_newer(epoch)}
        with mongo_outage():
            result = await self._runs.update_one(mine, {"$inc": dict(amounts), "$set": {"epoch": epoch}})
        if not result.matched_count:
            raise LeaseLostError("another extractor drives this run now")

    async def get(self, run: str) -> RunDocument:
        with mongo_outage():
            found: Document | None = await self._runs.find_one({"_id": run})
        return found or {}

    async def portals(self) -> set[str]:
        with mongo_outage():
            hosts = await self._runs.distinct("portal", {"timings.get.started_at": {"$exists": True}})
        return {str(host) for host in hosts}

    async def entity(self, family: str) -> Mapping[str, Any]:
        with mongo_outage():
            found: Document | None = await self._entities.find_one({"_id": family})
        return found or {}

    async def set_entity(self, family: str, epoch: int, fields: Mapping[str, Any]) -> None:
        mine = {"_id": family, **not_newer(epoch)}
        with mongo_outage():
            try:
                await self._entities.update_one(mine, {"$set": {**fields, "epoch": epoch}}, upsert=True)
            except DuplicateKeyError:
                raise LeaseLostError("another extractor drives this portal now") from None
