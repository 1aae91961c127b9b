"""Runs and leases in the project's database."""

from __future__ import annotations

from typing import Any

from chatferry.common.adapters.mongo import Database, Document, DuplicateKeyError, mongo_outage
from chatferry.common.documents import LEASES, RUNS
from chatferry.common.entities import FAMILIES
from chatferry.verifier.domain.facts import Run

_ASKS = {"state": "running", "phase": "verify"}


class MongoRuns:
    """The Runs port: runs of one project, read only."""

    def __init__(self, database: Database) -> None:
        self._runs = database[RUNS]

    async def wanted(self) -> list[Run]:
        query = {**_ASKS, "family": {"$in": sorted(FAMILIES)}}
        with mongo_outage():
            return [_run(row) async for row in self._runs.find(query).sort("requested_at", 1)]

    async def read(self, run: str) -> Run | None:
        with mongo_outage():
            row = await self._runs.find_one({"_id": run, **_ASKS})
        return None if row is None else _run(row)


class MongoLeases:
    """The Leases port: `_id` = `verify:<run>`, owner, until; MongoDB's own clock decides."""

    def __init__(self, database: Database, owner: str, seconds: float) -> None:
        self._leases, self._owner, self._milliseconds = database[LEASES], owner, int(seconds * 1000)

    async def take(self, run: str) -> bool:
        name = f"verify:{run}"
        free = {"$or": [{"owner": self._owner}, {"$expr": {"$lt": ["$until", "$$NOW"]}}]}
        until: Document = {"$add": ["$$NOW", self._milliseconds]}
        mine = [{"$set": {"owner": self._owner, "until": until}}]
        with mongo_outage():
            if (await self._leases.update_one({"_id": name, **free}, mine)).matched_count:
                return True
            try:
                # The filter names the owner, so this inserts the lease that nobody had, or meets the owner's.
                result = await self._leases.update_one({"_id": name, "owner": self._owner}, mine, upsert=True)
            except DuplicateKeyError:
                return False
            return result.upserted_id is not None or result.matched_count == 1

    async def release(self, run: str) -> None:
        with mongo_outage():
            await self._leases.delete_one({"_id": f"verify:{run}", "owner": self._owner})


def _run(row: Document) -> Run:
    options: dict[str, Any] = row.get("options") or {}
    timings: dict[str, Any] = row.get("timings") or {}
    asked = (timings.get("verify") or {}).get("started_at")
    return Run(
        id=str(row["_id"]),
        project=str(row.get("project")),
        family=row["family"],
        phase=row.get("phase"),
        phases=tuple(row["phases"]),
        requested_at=row["requested_at"],
        asked_at=asked,
        test_limit=options.get("test_limit"),
        whole=options.get("full") is not False,
        method=row.get("method"),
        timings=timings,
    )
