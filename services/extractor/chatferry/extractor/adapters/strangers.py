"""Strangers as rows of `source_inventory`, so that whoever goes on with the run asks for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chatferry.common.adapters.mongo import Database, UpdateOne, mongo_outage
from chatferry.common.documents import INVENTORY
from chatferry.common.entities import Entity
from chatferry.extractor.domain.records import scrubbed
from chatferry.extractor.ports import Stranger


class MongoStrangers:
    """The StrangerStore port on the project's database."""

    def __init__(self, database: Database) -> None:
        self._database, self._rows = database, database[INVENTORY]

    async def unknown(self, entity: Entity, ids: Sequence[int]) -> set[int]:
        keys = {entity.key(number): number for number in ids}
        with mongo_outage():
            async for doc in self._database[entity.name].find({"_id": {"$in": list(keys)}}, {"_id": 1}):
                del keys[doc["_id"]]
        return set(keys.values())

    async def want(self, entity: Entity, strangers: Sequence[Stranger]) -> None:
        updates = [
            UpdateOne(
                {"_id": _id(entity, one.seq)},
                {
                    "$setOnInsert": {
                        "kind": "stranger",
                        "of": entity.name,
                        "seq": one.seq,
                        "state": "wanted",
                        "raw": None if one.raw is None else _as_text(one.raw),
                    }
                },
                upsert=True,
            )
            for one in strangers
        ]
        if not updates:
            return
        again = {"_id": {"$in": [_id(entity, one.seq) for one in strangers]}, "state": "unresolvable"}
        with mongo_outage():
            await self._rows.bulk_write(updates, ordered=False)
            await self._rows.update_many(again, {"$set": {"state": "wanted", "raw": None}})

    async def wanted(self, entity: Entity, limit: int) -> list[Stranger]:
        query = {"kind": "stranger", "of": entity.name, "state": "wanted"}
        with mongo_outage():
            return [
                Stranger(row["seq"], _as_raw(row["raw"]))
                async for row in self._rows.find(query).sort("seq", 1).limit(limit)
            ]

    async def settle(self, entity: Entity, resolved: Sequence[int], lost: Sequence[int]) -> None:
        with mongo_outage():
            await self._set(entity, resolved, {"state": "resolved", "reason": None})
            await self._set(
                entity, lost, {"state": "unresolvable", "reason": "no method of the portal knows this user"}
            )

    async def _set(self, entity: Entity, ids: Sequence[int], fields: dict[str, str | None]) -> None:
        if ids:
            keys = [_id(entity, number) for number in ids]
            await self._rows.update_many({"_id": {"$in": keys}}, {"$set": fields, "$unset": {"raw": ""}})


def _as_text(raw: Mapping[str, Any]) -> str:
    """As JSON: a raw user may hold what MongoDB cannot (lone surrogates, integers of any size)."""
    return json.dumps(scrubbed(raw), ensure_ascii=False)


def _as_raw(text: str | None) -> Mapping[str, Any] | None:
    raw: Mapping[str, Any] | None = None if text is None else json.loads(text)
    return raw


def _id(entity: Entity, seq: int) -> str:
    return f"stranger:{entity.key(seq)}"
