"""`source_inventory` and `page_log`: where each walk stands, fenced by the lease's epoch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from chatferry.common.adapters.mongo import (
    BulkWriteError,
    Client,
    Database,
    Document,
    DuplicateKeyError,
    OperationFailure,
    ReplaceOne,
    Session,
    UpdateOne,
    mongo_outage,
)
from chatferry.common.clock import Clock
from chatferry.common.documents import INVENTORY, PAGE_LOG
from chatferry.common.entities import Entity, Family
from chatferry.common.entities.reading import View
from chatferry.common.errors import LeaseLostError
from chatferry.extractor.ports import PageEntry, Row, WalkUpdate

ENDED = ("closed", "failed", "unreadable")
_WRITE_CONFLICT, _DUPLICATE = 112, 11000
_FRESH: Document = {
    "state": "listed",
    "claimed": None,
    "watermark": None,
    "gap": None,
    "reason": None,
    "walks": 0,
    "walk": {},
    "found": {},
}

_ROWS_AT_ONCE = 200


class MongoInventory:
    """The Inventory port on the project's database."""

    def __init__(self, client: Client, database: Database, clock: Clock) -> None:
        self._client, self._database, self._clock = client, database, clock

    async def list_roots(self, family: Family, run: str, epoch: int, roots: Sequence[tuple[int, View]]) -> int:
        if not roots:
            return 0
        updates = [self._enter(family, run, epoch, seq, view) for seq, view in roots]
        with mongo_outage():
            try:
                result = await self._database[INVENTORY].bulk_write(updates, ordered=True)
            except BulkWriteError as failure:
                # A row that a newer epoch has written is not found, and cannot be made a second time.
                raise _lost_if_duplicate(failure) from failure
        return result.upserted_count + result.modified_count

    def _enter(self, family: Family, run: str, epoch: int, seq: int, view: View) -> UpdateOne:
        entity = family.root.name
        seen = {"webhook": view.webhook, "ref": view.ref}
        new = {"$ne": ["$run", run]}
        others = {
            "$filter": {
                "input": {"$ifNull": ["$views", []]},
                "cond": {"$ne": ["$$this.webhook", view.webhook]},
            }
        }
        fresh = {name: {"$cond": [new, {"$literal": value}, f"${name}"]} for name, value in _FRESH.items()}
        before = {"$ne": [{"$type": "$run"}, "missing"]}
        account = {name: {"$ifNull": [f"${name}", 0]} for name in ("listed", "absent", "rejected")}
        # Before its first child is stored: a new root's children are due without a flag of their own.
        mark = {"$cond": [before, "$unsent_from", 0]}
        known = {"$cond": [new, before, "$known"]}
        stages = [
            {"$set": {"known": known, "unsent_from": mark, "views": {"$cond": [new, [], others]}, **account}},
            {"$set": {**fresh, "views": {"$concatArrays": ["$views", [seen]]}}},
            {"$set": {"stored": {"$ifNull": ["$stored", False]}, "run": run, "epoch": epoch}},
            {"$set": {"family": family.name, "entity": entity, "seq": seq, "kind": "root"}},
        ]
        return UpdateOne({"_id": family.root.key(seq), **_not_newer(epoch)}, stages, upsert=True)

    async def known_roots(self, family: Family) -> list[tuple[int, list[View]]]:
        """Roots that earlier runs knew, with the views they had."""
        with mongo_outage():
            found = self._database[INVENTORY].find({"family": family.name, "kind": "root"}, {"seq": 1, "views": 1})
            return [(row["seq"], [View(v["webhook"], v["ref"]) for v in row["views"]]) async for row in found]

    async def list_missing(self, family: Family, run: str, epoch: int, roots: Sequence[tuple[int, View]]) -> None:
        with mongo_outage():
            keys = [family.root.key(seq) for seq, _ in roots]
            stale = self._database[INVENTORY].find({"_id": {"$in": keys}, "run": {"$ne": run}}, {"seq": 1})
            missing = {row["seq"] async for row in stale}
        await self.list_roots(family, run, epoch, [root for root in roots if root[0] in missing])

    async def give_up(self, family: Family, run: str, epoch: int) -> None:
        unseen = {"family": family.name, "kind": "root", "run": {"$ne": run}, **_not_newer(epoch)}
        reason = "no webhook that is given now sees it"
        with mongo_outage():
            await self._database[INVENTORY].update_many(
                unseen, {"$set": {"state": "unreadable", "reason": reason, "run": run, "epoch": epoch}}
            )

    async def open_rows(self, family: Family, run: str, epoch: int) -> AsyncIterator[Row]:
        query: Document = {"family": family.name, "run": run, "kind": "root", "state": {"$nin": list(ENDED)}}
        # Another process may have stored records of these roots without a word in the row.
        known = {"$or": ["$known", {"$ne": ["$epoch", epoch]}]}
        with mongo_outage():
            mine = {**query, **_not_newer(epoch)}
            await self._database[INVENTORY].update_many(mine, [{"$set": {"known": known, "epoch": epoch}}])
        last = 0
        # Page by page: a cursor that is kept open for the length of a Get dies when it idles for ten minutes.
        while rows := await self._open_page({**query, "epoch": epoch, "seq": {"$gt": last}}):
            for row in rows:
                last = row["seq"]
                yield row

    async def _open_page(self, query: Document) -> list[Row]:
        with mongo_outage():
            return [row async for row in self._database[INVENTORY].find(query).sort("seq", 1).limit(_ROWS_AT_ONCE)]

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
            "absent": len(page.gone),
            "rejected": page.rejected,
            "read_seq": page.read_seq,
            "webhook": page.webhook,
            "method": page.method,
            "duration_ms": page.duration_ms,
            "at": self._clock.now(),
        }

    async def restart(self, run: str, epoch: int, key: str, parent: int, walks: int) -> None:
        fields = {"walk": {}, "found": {}, "state": "walking", "known": True, "walks": walks}
        pages = {"parent": parent, "run": run, "epoch": {"$lte": epoch}}

        async def anew(session: Session) -> None:
            row = {"_id": key, "run": run, "epoch": epoch}
            result = await self._database[INVENTORY].update_one(row, {"$set": fields}, session=session)
            if not result.matched_count:
                raise LeaseLostError("another extractor drives this run now")
            await self._database[PAGE_LOG].delete_many(pages, session=session)

        await self._together(anew)

    async def put_listing(self, entity: Entity, run: str, epoch: int, fields: Mapping[str, Any]) -> None:
        key = f"listing:{entity.name}"
        with mongo_outage():
            before = await self._database[INVENTORY].find_one({"_id": key}, {"whole": 1})
            if before is not None and before.get("whole") and not fields["whole"]:
                return  # a test listing says nothing about the whole
            absent = await self._unlisted(entity, fields) if fields["state"] == "closed" else 0
            row: Document = {"_id": key, "kind": "listing", "run": run, "epoch": epoch, "absent": absent, **fields}
            try:
                await self._database[INVENTORY].replace_one({"_id": key, **_not_newer(epoch)}, row, upsert=True)
            except DuplicateKeyError as newer:
                raise LeaseLostError("another extractor drives this run now") from newer

    async def get_listing(self, entity: Entity) -> Mapping[str, Any]:
        with mongo_outage():
            row: Document | None = await self._database[INVENTORY].find_one({"_id": f"listing:{entity.name}"})
        return row or {}

    async def _unlisted(self, entity: Entity, fields: Mapping[str, Any]) -> int:
        """Records that are stored and that the list lacks now; strangers were never in it."""
        if not fields["whole"]:
            return 0
        stored = await self._database[entity.name].count_documents({})
        strangers = {"kind": "stranger", "of": entity.name, "state": "resolved"}
        met = await self._database[INVENTORY].count_documents(strangers)
        return int(stored - met - fields["listed"] - fields["rejected"])

    async def listed(self, entity: Entity, ids: Sequence[int]) -> None:
        with mongo_outage():
            strangers = [f"stranger:{entity.key(number)}" for number in ids]
            await self._database[INVENTORY].delete_many({"_id": {"$in": strangers}})


def _not_newer(epoch: int) -> Document:
    """Not written under a newer lease."""
    return {"$or": [{"epoch": {"$lte": epoch}}, {"epoch": None}]}


def _lost_if_duplicate(failure: BulkWriteError) -> Exception:
    errors = (failure.details or {}).get("writeErrors", [])
    if errors and all(error["code"] == _DUPLICATE for error in errors):
        return LeaseLostError("another extractor drives this portal now")
    return failure
