"""`source_inventory` and `page_log`: where each walk stands, fenced by the lease's epoch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from chatferry.common.adapters.mongo import (
    Client,
    Database,
    Document,
    OperationFailure,
    ReplaceOne,
    Session,
    UpdateOne,
    mongo_outage,
)
from chatferry.common.clock import Clock
from chatferry.common.documents import INVENTORY, PAGE_LOG
from chatferry.common.entities import Family
from chatferry.common.errors import LeaseLostError
from chatferry.extractor.adapters.fence import not_newer
from chatferry.extractor.ports import PageEntry, Row, WalkUpdate

ENDED = ("closed", "failed", "unreadable")
_WRITE_CONFLICT = 112
_ROWS_AT_ONCE = 200


class MongoInventory:
    """The Inventory port on the project's database."""

    def __init__(self, client: Client, database: Database, clock: Clock) -> None:
        self._client, self._database, self._clock = client, database, clock

    async def open_rows(self, family: Family, run: str, epoch: int) -> AsyncIterator[Row]:
        query: Document = {"family": family.name, "run": run, "kind": "root", "state": {"$nin": list(ENDED)}}
        # Another process may have stored records of these roots without a word in the row.
        known = {"$or": ["$known", {"$ne": ["$epoch", epoch]}]}
        with mongo_outage():
            mine = {**query, **not_newer(epoch)}
            await self._database[INVENTORY].update_many(mine, [{"$set": {"known": known, "epoch": epoch}}])
        prefix = last = family.root.key_prefix
        # Page by page: a cursor that is kept open for the length of a Get dies when it idles for ten minutes.
        while rows := await self._open_page({**query, "epoch": epoch, "_id": {"$gt": last, "$lt": f"{prefix}:"}}):
            for row in rows:
                last = row["_id"]
                yield row

    async def _open_page(self, query: Document) -> list[Row]:
        with mongo_outage():
            return [row async for row in self._database[INVENTORY].find(query).sort("_id", 1).limit(_ROWS_AT_ONCE)]

    async def commit(self, run: str, epoch: int, updates: Sequence[WalkUpdate]) -> None:
        if updates:
            await self._together(lambda session: self._write(session, run, epoch, updates))

    async def _together(self, work: Callable[[Session], Awaitable[None]]) -> None:
        """All of it or nothing; a conflict means that somebody else owns the rows."""
        with mongo_outage():
            async with await self._client.start_session() as session:
                try:
                    async with session.start_transaction():
                        await work(session)
                except OperationFailure as failure:
                    if failure.code == _WRITE_CONFLICT:
                        raise LeaseLostError("another extractor writes the same walks") from failure
                    raise

    async def _write(self, session: Session, run: str, epoch: int, updates: Sequence[WalkUpdate]) -> None:
        rows = [UpdateOne({"_id": one.key, "run": run, "epoch": epoch}, {"$set": one.fields}) for one in updates]
        result = await self._database[INVENTORY].bulk_write(rows, ordered=False, session=session)
        if result.matched_count != len(updates):
            raise LeaseLostError("another extractor drives this run now")
        entries = [self._entry(run, epoch, page) for one in updates for page in one.pages]
        pages = [ReplaceOne({"_id": entry["_id"]}, entry, upsert=True) for entry in entries]
        if pages:
            await self._database[PAGE_LOG].bulk_write(pages, ordered=False, session=session)

    def _entry(self, run: str, epoch: int, page: PageEntry) -> Document:
        return {
            "_id": f"{run}/{page.entity}/{page.parent}/{page.hi}",
            "run": run,
            "epoch": epoch,
            "entity": page.entity,
            "parent": page.parent,
            "lo": page.lo,
            "hi": page.hi,
            "count": page.count,
            "absent": page.absent,
            "rejected": page.rejected,
            "read_seq": page.read_seq,
            "webhook": page.webhook,
            "method": page.method,
            "duration_ms": page.duration_ms,
            "at": self._clock.now(),
        }

    async def restart(self, run: str, epoch: int, key: str, parent: int, way: Mapping[str, Any]) -> None:
        fields = {"walk": {}, "found": {}, "state": "walking", "known": True, **way}
        pages = {"parent": parent, "run": run, "epoch": {"$lte": epoch}}

        async def anew(session: Session) -> None:
            row = {"_id": key, "run": run, "epoch": epoch}
            result = await self._database[INVENTORY].update_one(row, {"$set": fields}, session=session)
            if not result.matched_count:
                raise LeaseLostError("another extractor drives this run now")
            await self._database[PAGE_LOG].delete_many(pages, session=session)

        await self._together(anew)
