"""Lists whose rows are whole records: one row each in `source_inventory`, and the strangers beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatferry.common.adapters.mongo import Database, Document, DuplicateKeyError, mongo_outage
from chatferry.common.documents import INVENTORY
from chatferry.common.entities import Entity
from chatferry.common.errors import LeaseLostError
from chatferry.common.ledger import count_met
from chatferry.extractor.adapters.fence import not_newer

_ACCOUNT = ("listed", "absent", "rejected")


class MongoListings:
    """The Listings port on the project's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_listing(self, entity: Entity, run: str, epoch: int, fields: Mapping[str, Any]) -> None:
        key = f"listing:{entity.name}"
        with mongo_outage():
            before: Document = await self._database[INVENTORY].find_one({"_id": key}) or {}
            if before.get("whole") and not fields["whole"]:
                return  # a test listing says nothing about the whole
            absent = await self._unlisted(entity, fields) if fields["state"] == "closed" else 0
            row: Document = {"kind": "listing", "run": run, "epoch": epoch, **fields, "absent": absent}
            if fields["state"] != "closed" and _total(before) >= _total(row):
                row |= {name: before[name] for name in _ACCOUNT}
            try:
                same = {"_id": key, **not_newer(epoch)}
                await self._database[INVENTORY].update_one(same, {"$set": row}, upsert=True)
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
        met = await count_met(self._database, entity)
        return int(stored - met - fields["listed"] - fields["rejected"])

    async def listed(self, entity: Entity, ids: Sequence[int]) -> None:
        with mongo_outage():
            strangers = [f"stranger:{entity.key(number)}" for number in ids]
            await self._database[INVENTORY].delete_many({"_id": {"$in": strangers}})


def _total(row: Mapping[str, Any]) -> int:
    return sum(int(row.get(name) or 0) for name in _ACCOUNT)
