"""The importer's word in a run's preflight."""

from __future__ import annotations

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.clock import Clock
from chatferry.common.documents import RUNS


class MongoRunsAsked:
    """Port `RunsAsked` on the project's database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._runs, self._clock = database[RUNS], clock

    async def unanswered(self) -> list[tuple[str, str]]:
        asked = {"state": "requested", "target_check": {"$exists": False}}
        with mongo_outage():
            return [(run["_id"], run["family"]) async for run in self._runs.find(asked, {"family": 1})]

    async def answer(self, run: str, ok: bool, detail: str) -> None:
        answer = {"ok": ok, "detail": detail, "at": self._clock.now()}
        with mongo_outage():
            await self._runs.update_one(
                {"_id": run, "target_check": {"$exists": False}}, {"$set": {"target_check": answer}}
            )
