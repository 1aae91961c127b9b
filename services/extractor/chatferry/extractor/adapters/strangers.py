"""Strangers as rows of `source_inventory`, so that whoever goes on with the run asks for them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from chatferry.common.adapters.mongo import Database, UpdateOne, mongo_outage
from chatferry.common.documents import INVENTORY
from chatferry.common.entities import Entity
from chatferry.extractor.domain.records import scrubbed
from chatferry.extractor.ports import Lost, Stranger


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

    async def want(self, entity: Entity, strangers: Sequence[Stranger], unknown: Collection[int]) -> None:
        updates = [_update(entity, one, unknown) for one in strangers if one.raw is not None or one.seq in unknown]
        if updates:
            with mongo_outage():
                await self._rows.bulk_write(updates, ordered=False)

    async def wanted(self, entity: Entity, run: str, limit: int) -> list[Stranger]:
        query = {"kind": "stranger", "of": entity.name, "asked": {"$ne": run}}
        with mongo_outage():
            return [
                Stranger(row["seq"], _as_raw(row.get("raw")))
                async for row in self._rows.find(query).sort("seq", 1).limit(limit)
            ]

    async def settle(self, entity: Entity, run: str, resolved: Sequence[int], lost: Sequence[Lost]) -> None:
        unknown = await self.unknown(entity, [one.seq for one in lost])
        ends: dict[tuple[str, str | None], list[int]] = defaultdict(list)
        ends["resolved", None] += resolved
        for one in lost:
            # A webhook that may not ask, or nobody who knows it any more, takes nothing away: we have its record.
            kept = one.seq not in unknown and one.state != "failed"
            ends["resolved" if kept else one.state, None if kept else one.reason].append(one.seq)
        with mongo_outage():
            for (state, reason), ids in ends.items():
                keys = [_id(entity, number) for number in ids]
                update = {"$set": {"state": state, "reason": reason, "asked": run}, "$unset": {"raw": ""}}
                await self._rows.update_many({"_id": {"$in": keys}}, update)


def _update(entity: Entity, one: Stranger, unknown: Collection[int]) -> UpdateOne:
    fresh = {"kind": "stranger", "of": entity.name, "seq": one.seq, "state": "wanted"}
    shown = {} if one.raw is None else {"$set": {"raw": _as_text(one.raw)}}
    if one.seq not in unknown:
        return UpdateOne({"_id": _id(entity, one.seq)}, shown)
    return UpdateOne({"_id": _id(entity, one.seq)}, {"$setOnInsert": fresh, **shown}, upsert=True)


def _as_text(raw: Mapping[str, Any]) -> str:
    """As JSON: a raw user may hold what MongoDB cannot (lone surrogates, integers of any size)."""
    return json.dumps(scrubbed(raw), ensure_ascii=False)


def _as_raw(text: str | None) -> Mapping[str, Any] | None:
    raw: Mapping[str, Any] | None = None if text is None else json.loads(text)
    return raw


def _id(entity: Entity, seq: int) -> str:
    return f"stranger:{entity.key(seq)}"
