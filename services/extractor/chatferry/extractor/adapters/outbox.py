"""The outbox: records that are due, cleared only after the broker's answer and only for the version that was sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from chatferry.common.adapters.mongo import Database, UpdateMany, UpdateOne, mongo_outage
from chatferry.common.contracts.canonical import canonical_json
from chatferry.common.documents import INVENTORY
from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.errors import LeaseLostError
from chatferry.extractor.adapters.acceptance import ACCEPTED
from chatferry.extractor.adapters.inventory import ENDED
from chatferry.extractor.ports import Chunk, Due, DueParents, Place, Told

# What may go out: closed walks, and those that failed where an operator took what there is.
_WHOLE: dict[str, Any] = {"$or": [{"state": "closed"}, {"state": {"$in": list(ENDED)}, **ACCEPTED}]}
_CHUNK_BYTES = 8 * 1024 * 1024
_ROOTS_AT_ONCE = 64
_PAYLOAD = {"payload": 1, "version": 1, "seq": 1, "parent": 1, "due": 1}
_IN_ORDER = [("parent", 1), ("seq", 1)]


class MongoOutbox:
    """The Outbox, Unsent and Published ports on the project's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, entity: Entity, parents: Sequence[int] | None, limit: int) -> list[Due]:
        query: dict[str, Any] = {"due": True}
        if parents is not None:
            query["parent"] = {"$in": list(parents)}
        return await self._find(entity, query, limit)

    async def due_parents(self, entity: Entity, after: int) -> DueParents | None:
        parents: list[int] = []
        with mongo_outage():
            while len(parents) < _ROOTS_AT_ONCE and (following := await self._next_due(entity, after)) is not None:
                parents.append(after := following)
            if not parents:
                return None
            walking = await self._still_walking(str(entity.parent), parents)
        return DueParents([one for one in parents if one not in walking], parents[-1])

    async def _next_due(self, entity: Entity, after: int) -> int | None:
        above = {"due": True, "parent": {"$gt": after}}
        found = await self._database[entity.name].find_one(above, {"_id": 0, "parent": 1}, sort=_IN_ORDER)
        return None if found is None else int(found["parent"])

    async def _still_walking(self, parent: str, roots: Sequence[int]) -> set[int]:
        """Roots that are not read to the end: their oldest records are still to come, and go first."""
        keys = [ENTITIES[parent].key(seq) for seq in roots]
        unread = {"_id": {"$in": keys}, "$nor": [_WHOLE]}
        return {row["seq"] async for row in self._database[INVENTORY].find(unread, {"seq": 1})}

    async def due_roots(self, entity: Entity, ids: Sequence[int]) -> list[Due]:
        return await self._find(entity, {"due": True, "parent": None, "seq": {"$in": list(ids)}}, len(ids))

    async def _find(self, entity: Entity, query: dict[str, Any], limit: int) -> list[Due]:
        with mongo_outage():
            found, _ = await self._take(entity, query, limit)
        return [one for one, _ in found if one is not None]

    async def _take(
        self, entity: Entity, query: dict[str, Any], limit: int
    ) -> tuple[list[tuple[Due | None, tuple[int, int]]], bool]:
        """Records with their place (parent, id), None for one that has no payload; and whether there may be more."""
        found: list[tuple[Due | None, tuple[int, int]]] = []
        size = 0
        async for doc in self._database[entity.name].find(query, _PAYLOAD).sort(_IN_ORDER).limit(limit):
            place = (doc["parent"], doc["seq"])
            if doc["payload"] is None:
                found.append((None, place))
                continue
            body = canonical_json(doc["payload"])
            found.append((Due(entity, doc["_id"], doc["version"], place[1], place[0], body, "due" in doc), place))
            size += len(body)
            if size > _CHUNK_BYTES:
                return found, True
        return found, len(found) == limit

    async def unsent(self, entity: Entity, roots: Sequence[int] | None, limit: int) -> Chunk | None:
        query: dict[str, Any] = {"entity": entity.parent, "unsent_from": {"$gte": 0}, **_WHOLE}
        if roots is not None:
            query["seq"] = {"$in": list(roots)}
        with mongo_outage():
            rows = self._database[INVENTORY].find(query, {"seq": 1, "unsent_from": 1})
            marks = {row["seq"]: row["unsent_from"] async for row in rows.sort("seq", 1).limit(_ROOTS_AT_ONCE)}
            if not marks:
                return None
            above = [{"parent": seq, "seq": {"$gt": mark}} for seq, mark in marks.items()]
            found, more = await self._take(entity, {"$or": above}, limit)
        last = found[-1][1] if more else None
        return Chunk([one for one, _ in found if one is not None], _marks(list(marks), last))

    async def sent(self, entity: Entity, chunk: Chunk, epoch: int) -> None:
        await self.answered(entity, [one for one in chunk.records if one.flagged])
        parent = ENTITIES[str(entity.parent)]
        updates = [
            UpdateOne(
                {"_id": parent.key(seq), "epoch": {"$lte": epoch}},
                {"$unset": {"unsent_from": ""}} if mark is None else {"$set": {"unsent_from": mark}},
            )
            for seq, mark in chunk.marks.items()
        ]
        with mongo_outage():
            result = await self._database[INVENTORY].bulk_write(updates, ordered=False)
        if result.matched_count != len(updates):
            raise LeaseLostError("another extractor drives this run now")

    async def published(self, entity: Entity, after: Place, limit: int) -> Told | None:
        parent, seq = after
        behind: dict[str, Any] = {"parent": parent, "seq": {"$gt": seq}}
        query = behind if entity.parent is None else {"$or": [behind, {"parent": {"$gt": parent}}]}
        with mongo_outage():
            found, _ = await self._take(entity, query, limit)
            if not found:
                return None
            marks = await self._unsent_from(entity, {place[0] for _, place in found})
        answered = [one for one, _ in found if one is not None and not one.flagged]
        return Told([one for one in answered if one.seq <= marks.get(one.parent, one.seq)], found[-1][1])

    async def _unsent_from(self, entity: Entity, parents: Collection[int | None]) -> dict[int | None, int]:
        """Roots among these whose children are due from some id on."""
        rows = {"entity": entity.parent, "seq": {"$in": list(parents)}, "unsent_from": {"$gte": 0}}
        return {row["seq"]: row["unsent_from"] async for row in self._database[INVENTORY].find(rows, {"_id": 0})}

    async def answered(self, entity: Entity, records: Sequence[Due]) -> None:
        by_version: dict[int, list[str]] = defaultdict(list)
        for record in records:
            by_version[record.version].append(record.key)
        updates = [
            UpdateMany({"_id": {"$in": keys}, "version": version}, {"$unset": {"due": ""}})
            for version, keys in by_version.items()
        ]
        if updates:
            with mongo_outage():
                await self._database[entity.name].bulk_write(updates, ordered=False)


def _marks(roots: Sequence[int], last: tuple[int, int] | None) -> dict[int, int | None]:
    """Every root below the last record's is sent whole, its own up to that record, the others not at all."""
    if last is None:
        return dict.fromkeys(roots)
    done: dict[int, int | None] = {root: None for root in roots if root < last[0]}
    return {**done, last[0]: last[1]}
