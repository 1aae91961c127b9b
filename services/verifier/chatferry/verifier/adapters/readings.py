"""What the extractor wrote down about its reading: pages, and the newest Get."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.documents import ENTITY_STATES, PAGE_LOG
from chatferry.common.entities import Entity, Family
from chatferry.verifier.domain.facts import Get
from chatferry.verifier.domain.pages import Page

_PAGE = {"_id": 0, "parent": 1, "lo": 1, "hi": 1, "count": 1, "absent": 1, "rejected": 1}


class MongoReadings:
    """The Readings port."""

    def __init__(self, database: Database) -> None:
        self._log, self._states = database[PAGE_LOG], database[ENTITY_STATES]

    async def newest_get(self, family: Family) -> Get | None:
        with mongo_outage():
            state = await self._states.find_one({"_id": family.name}, {"get": 1})
        get = (state or {}).get("get")
        return None if get is None else Get(str(get["run"]), get["whole"] is True)

    async def pages(self, entity: Entity, run: str, parents: Sequence[int]) -> AsyncIterator[Page]:
        query = {"parent": {"$in": list(parents)}, "run": run, "entity": entity.name}
        with mongo_outage():
            # Sorted on the server, on its disk when they are many: no index has this order.
            async for row in self._log.find(query, _PAGE).sort("lo", 1).allow_disk_use(True):
                yield Page(
                    row["parent"],
                    row["lo"],
                    row["hi"],
                    row["count"],
                    int(row.get("absent") or 0) + int(row.get("rejected") or 0),
                )
