"""What must outlive a restart, in one document."""

from __future__ import annotations

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.participants.ports import Marks

_MARKS = "marks"


class MongoMemory:
    """Port `Memory`. A gap is never forgotten for an older one, whichever replica writes last."""

    def __init__(self, database: Database) -> None:
        self._memory = database["memory"]

    async def marks(self) -> Marks:
        with mongo_outage():
            kept = await self._memory.find_one({"_id": _MARKS})
        if kept is None:
            return Marks()
        return Marks(kept.get("gap", 0), kept.get("polled"), kept.get("heard", 0), kept.get("subscribed"))

    async def keep(self, marks: Marks) -> None:
        told = {"polled": marks.polled, "subscribed": marks.subscribed}
        change = {"$max": {"gap": marks.gap_ms}, "$set": told}
        with mongo_outage():
            await self._memory.update_one({"_id": _MARKS}, change, upsert=True)

    async def heard(self, at_ms: int) -> None:
        with mongo_outage():
            await self._memory.update_one({"_id": _MARKS}, {"$max": {"heard": at_ms}}, upsert=True)
