"""Roots that the portal lists, as rows of `source_inventory`, fenced by the lease's epoch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from chatferry.common.adapters.mongo import BulkWriteError, Database, Document, UpdateOne, mongo_outage
from chatferry.common.documents import INVENTORY, REJECT
from chatferry.common.entities import Family
from chatferry.common.entities.reading import View
from chatferry.common.errors import LeaseLostError
from chatferry.extractor.adapters.fence import not_newer

_DUPLICATE = 11000
_FRESH: Document = {
    "state": "listed",
    "claimed": None,
    "watermark": None,
    "gap": None,
    "reason": None,
    "walks": 0,
    "walk": {},
    "found": {},
    "through": None,
    "tried": [],
}
_ROWS_AT_ONCE = 200


class MongoRoots:
    """The Roots port on the project's database."""

    def __init__(self, database: Database) -> None:
        self._rows = database[INVENTORY]

    async def list_roots(self, family: Family, run: str, epoch: int, roots: Sequence[tuple[int, View]]) -> None:
        await self._enter_all([_enter(family, run, epoch, seq, [view]) for seq, view in roots])

    async def _enter_all(self, updates: Sequence[UpdateOne]) -> None:
        if not updates:
            return
        with mongo_outage():
            try:
                await self._rows.bulk_write(list(updates), ordered=True)
            except BulkWriteError as failure:
                # A row that a newer epoch has written is not found, and cannot be made a second time.
                raise _lost_if_duplicate(failure) from failure

    async def list_nameless(self, family: Family, run: str, epoch: int, keys: Sequence[str], *, stored: bool) -> None:
        row: Document = {"family": family.name, "kind": "reject", "of": family.root.name, "run": run, "epoch": epoch}
        update = {"$set": {**row, "stored": True}} if stored else {"$set": row, "$setOnInsert": {"stored": False}}
        await self._enter_all(
            [UpdateOne({"_id": f"{REJECT}{key}", **not_newer(epoch)}, update, upsert=True) for key in keys]
        )

    async def relist(self, family: Family, run: str, epoch: int, webhooks: Sequence[int]) -> None:
        async for rows in self._unlisted(family, run):
            known = [(row["seq"], _still_given(row["views"], webhooks)) for row in rows]
            await self._enter_all([_enter(family, run, epoch, seq, views) for seq, views in known if views])
        await self._give_up(family, run, epoch)

    async def _unlisted(self, family: Family, run: str) -> AsyncIterator[list[Document]]:
        """Rows of earlier runs, page by page in order of their keys."""
        prefix = family.root.key_prefix
        after = prefix
        while True:
            # `:` is the character after `9`.
            stale = {"_id": {"$gt": after, "$lt": f"{prefix}:"}, "family": family.name, "run": {"$ne": run}}
            with mongo_outage():
                found = self._rows.find(stale, {"seq": 1, "views": 1}).sort("_id", 1).limit(_ROWS_AT_ONCE)
                rows = await found.to_list(_ROWS_AT_ONCE)
            if not rows:
                return
            yield rows
            after = rows[-1]["_id"]

    async def _give_up(self, family: Family, run: str, epoch: int) -> None:
        unseen = {"family": family.name, "kind": "root", "run": {"$ne": run}, **not_newer(epoch)}
        reason = "no webhook that is given now sees it"
        with mongo_outage():
            await self._rows.update_many(
                unseen, {"$set": {"state": "unreadable", "reason": reason, "run": run, "epoch": epoch}}
            )


def _still_given(views: Sequence[Mapping[str, Any]], webhooks: Sequence[int]) -> list[View]:
    return [View(view["webhook"], view["ref"]) for view in views if view["webhook"] in webhooks]


def _enter(family: Family, run: str, epoch: int, seq: int, views: Sequence[View]) -> UpdateOne:
    seen = [{"webhook": view.webhook, "ref": view.ref} for view in views]
    new = {"$ne": ["$run", run]}
    others = {
        "$filter": {
            "input": {"$ifNull": ["$views", []]},
            "cond": {"$not": [{"$in": ["$$this.webhook", [view.webhook for view in views]]}]},
        }
    }
    fresh = {name: {"$cond": [new, {"$literal": value}, f"${name}"]} for name, value in _FRESH.items()}
    before = {"$ne": [{"$type": "$run"}, "missing"]}
    account = {name: {"$ifNull": [f"${name}", 0]} for name in ("listed", "absent", "rejected")}
    # Before its first child is stored: a new root's children are due without a flag of their own.
    mark = {"$cond": [before, "$unsent_from", 0]}
    known = {"$cond": [new, before, "$known"]}
    stages: list[Document] = [
        {"$set": {"known": known, "unsent_from": mark, "views": {"$cond": [new, [], others]}, **account}},
        {"$set": {**fresh, "views": {"$concatArrays": ["$views", {"$literal": seen}]}}},
        {"$set": {"stored": {"$ifNull": ["$stored", False]}, "run": run, "epoch": epoch}},
        {"$set": {"family": family.name, "entity": family.root.name, "seq": seq, "kind": "root"}},
    ]
    return UpdateOne({"_id": family.root.key(seq), **not_newer(epoch)}, stages, upsert=True)


def _lost_if_duplicate(failure: BulkWriteError) -> Exception:
    errors = (failure.details or {}).get("writeErrors", [])
    if errors and all(error["code"] == _DUPLICATE for error in errors):
        return LeaseLostError("another extractor drives this portal now")
    return failure
