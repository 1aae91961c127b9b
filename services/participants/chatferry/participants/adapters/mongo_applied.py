"""How far the portal's topics were applied, in the catalogue's own database: a lost or older one says less."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from chatferry.common.adapters.mongo import Database, Document, DuplicateKeyError, ReturnDocument, mongo_outage
from chatferry.common.streaming.records import Partition

_SOURCES = "sources"


class MongoApplied:
    """Port `applying.Applied`. `name`: makes the name of a reading that there was never before."""

    def __init__(self, database: Database, name: Callable[[], str]) -> None:
        self._memory, self._name = database["memory"], name

    async def reading(self) -> str:
        with mongo_outage():
            while True:
                try:
                    kept = await self._memory.find_one_and_update(
                        {"_id": _SOURCES},
                        {"$setOnInsert": {"reading": self._name()}},
                        upsert=True,
                        return_document=ReturnDocument.AFTER,
                    )
                except DuplicateKeyError:
                    continue
                return str(kept["reading"])

    async def reached(self, reading: str, partitions: Collection[Partition]) -> dict[Partition, int]:
        with mongo_outage():
            kept = await self._memory.find_one({"_id": _SOURCES, "reading": reading})
        there = (kept or {}).get("reached", {})
        return {one: there[_key(one)] for one in partitions if _key(one) in there}

    async def note(self, reading: str, before: Mapping[Partition, int], now: Mapping[Partition, int]) -> bool:
        still: Document = {f"reached.{_key(one)}": {"$gte": offset} for one, offset in before.items()}
        further = {f"reached.{_key(one)}": offset for one, offset in now.items()}
        with mongo_outage():
            done = await self._memory.update_one({"_id": _SOURCES, "reading": reading, **still}, {"$max": further})
        return done.matched_count > 0

    async def begin_anew(self, reading: str) -> None:
        change = {"$set": {"reading": self._name()}, "$unset": {"reached": ""}}
        with mongo_outage():
            await self._memory.update_one({"_id": _SOURCES, "reading": reading}, change)


def _key(partition: Partition) -> str:
    # A dot in a field's name would be a way into a document.
    return f"{partition.topic}:{partition.partition}".replace(".", "/")
