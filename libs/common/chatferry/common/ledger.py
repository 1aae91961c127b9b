"""The ledger of records, recomputed from what is stored: read = done + skipped + dead + waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from chatferry.common.adapters.mongo import Collection, Database, OperationFailure, Session
from chatferry.common.documents import (
    DEAD_LETTERS,
    IMPORT_ERR,
    IMPORT_OK,
    INVENTORY,
    PARKED,
    REJECT,
    SKIPPED,
    WAITING,
)
from chatferry.common.entities import ENTITIES, Entity, Family

READ, GIVEN_UP = ("closed", "resolved"), ("failed", "unreadable", "unresolvable")
"""States of a row of the inventory at its end; every other one is of a walk that is still open."""

T = TypeVar("T")
_CLOSED: dict[str, Any] = {"state": "closed", "walk.limited": {"$ne": True}}
_IS_CLOSED = {"$and": [{"$eq": ["$state", "closed"]}, {"$ne": ["$walk.limited", True]}]}
_READ_BY_WALK = {"$add": ["$listed", "$absent", "$rejected"]}
_VALUES_AT_ONCE = 50_000
_SNAPSHOT_UNAVAILABLE, _SNAPSHOTS, _SNAPSHOT_PAUSE_S = 246, 20, 0.1


@dataclass(slots=True)
class Account:
    """What became of an entity's records. `read` is counted at the source side, the rest at the records."""

    read: int = 0
    done: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    dead: int = 0
    waiting: int = 0
    due: int = 0
    parked: int = 0

    @property
    def balanced(self) -> bool:
        """Promise 2, at any time."""
        return self.read == self.done + sum(self.skipped.values()) + self.dead + self.waiting

    def as_json(self) -> dict[str, Any]:
        """The shape that the report and `status --json` print."""
        return {
            "read": self.read,
            "done": self.done,
            "skipped": dict(sorted(self.skipped.items())),
            "dead": self.dead,
            "waiting": self.waiting,
        }


def gap_of(row: Mapping[str, Any]) -> int:
    """Records that a row of the inventory lacks of what the portal claimed; 0 where the portal claimed nothing."""
    if row.get("gap") is not None:
        return int(row["gap"])
    claimed = row.get("claimed")
    return 0 if claimed is None else int(claimed) - int(row.get("listed") or 0) - int(row.get("rejected") or 0)


def lacks(state: str, gap: int) -> bool:
    """Whether a row that was read to its end, or given up, needs a person to accept it."""
    return state in GIVEN_UP or (state in READ and gap != 0)


async def account(database: Database, entity: Entity, family: Family, parent: int | None = None) -> Account:
    """The account of one entity, or of its records under one parent, as it was at one moment."""
    return await _at_one_moment(database, lambda session: _account(database, entity, family, parent, session))


async def _account(database: Database, entity: Entity, family: Family, parent: int | None, session: Session) -> Account:
    result = Account(read=await _Reading(database, entity, family, session).of(parent))
    match = {} if parent is None else {"parent": parent}
    group = {"_id": {"status": "$status", "reason": "$skip_reason"}, "n": {"$sum": 1}}
    async for row in database[entity.name].aggregate([{"$match": match}, {"$group": group}], session=session):
        _enter(result, row["_id"], row["n"])
    result.due = await count_due(database, entity, parent)
    result.parked = await database[PARKED].count_documents({"entity": entity.name, **match}, session=session)
    return result


async def _at_one_moment(database: Database, work: Callable[[Session], Awaitable[T]]) -> T:
    """What `work` reads is one state of the database, however much is written meanwhile."""
    for again in range(_SNAPSHOTS, -1, -1):
        async with await database.client.start_session(snapshot=True) as session:
            try:
                return await work(session)
            except OperationFailure as failure:
                # A collection or an index that is younger than the snapshot.
                if failure.code != _SNAPSHOT_UNAVAILABLE or not again:
                    raise
        await asyncio.sleep(_SNAPSHOT_PAUSE_S)
    raise AssertionError("the last attempt returns or raises")


async def count_due(database: Database, entity: Entity, parent: int | None = None) -> int:
    """Records whose present version the broker has not answered for: by their own flag, or by their root's mark."""
    match: dict[str, Any] = {} if parent is None else {"parent": parent}
    due = int(await database[entity.name].count_documents({**match, "due": True}))
    marked: dict[str, Any] = {"entity": entity.parent, "unsent_from": {"$gte": 0}}
    if parent is not None:
        marked["seq"] = parent
    async for row in database[INVENTORY].find(marked, {"seq": 1, "unsent_from": 1, "listed": 1}):
        if row["unsent_from"] == 0:
            due += int(row["listed"])
        else:
            above = {"parent": row["seq"], "seq": {"$gt": row["unsent_from"]}, "due": {"$ne": True}}
            due += int(await database[entity.name].count_documents(above))
    return due


def _enter(result: Account, what: Mapping[str, Any], count: int) -> None:
    status = what["status"]
    if status == IMPORT_OK:
        result.done += count
    elif status == IMPORT_ERR:
        result.dead += count
    elif status in WAITING:
        result.waiting += count
    elif status == SKIPPED:
        reason = str(what.get("reason"))
        result.skipped[reason] = result.skipped.get(reason, 0) + count


async def count_met(database: Database, entity: Entity, session: Session | None = None) -> int:
    """Strangers who have a record: those who are resolved, and whoever else has one, of an earlier read or a kill."""
    met = {"kind": "stranger", "of": entity.name}
    known = int(await database[INVENTORY].count_documents({**met, "state": "resolved"}, session=session))
    others = database[INVENTORY].find({**met, "state": {"$ne": "resolved"}}, {"seq": 1}, session=session)
    keys = [entity.key(row["seq"]) async for row in others]
    return known + await _count_stored(database[entity.name], "_id", keys, session)


async def _count_stored(records: Collection, field: str, values: Sequence[Any], session: Session | None) -> int:
    found = 0
    for start in range(0, len(values), _VALUES_AT_ONCE):
        some = {field: {"$in": values[start : start + _VALUES_AT_ONCE]}}
        found += await records.count_documents(some, session=session)
    return found


@dataclass(frozen=True, slots=True)
class _Reading:
    """How many records were read: proved by the inventory where a walk is closed, else those that are stored.

    A walk that a test limit cut off says nothing of the records below its end: it counts as open.
    """

    database: Database
    entity: Entity
    family: Family
    session: Session

    async def of(self, parent: int | None) -> int:
        """Of the entity, or under one parent."""
        if self.entity.parent is not None:
            return await self._under_parents(parent)
        return await count_met(self.database, self.entity, self.session) + await self._roots()

    async def _under_parents(self, parent: int | None) -> int:
        match: dict[str, Any] = {"family": self.family.name, "entity": self.entity.parent}
        if parent is not None:
            match["seq"] = parent
        rows = [{"$match": {**match, **_CLOSED}}, {"$group": {"_id": None, "n": {"$sum": _READ_BY_WALK}}}]
        closed = sum([int(row["n"]) async for row in self._inventory.aggregate(rows, session=self.session)])
        still_open = self._inventory.find({**match, "$nor": [_CLOSED]}, {"seq": 1}, session=self.session)
        return closed + await self._stored("parent", [row["seq"] async for row in still_open])

    async def _roots(self) -> int:
        if self.family.reading.walk is not None:
            mine = {"family": self.family.name, "kind": {"$in": ["root", "reject"]}}
            there = await self._inventory.count_documents({**mine, "stored": True}, session=self.session)
            others = self._inventory.find({**mine, "stored": {"$ne": True}}, {"_id": 1}, session=self.session)
            return there + await self._stored("_id", [row["_id"].removeprefix(REJECT) async for row in others])
        listing = await self._inventory.find_one({"_id": f"listing:{self.entity.name}"}, session=self.session) or {}
        if listing.get("state") == "closed" and listing.get("whole"):
            return sum(int(listing[name]) for name in ("listed", "absent", "rejected"))
        strangers = {"kind": "stranger", "of": self.entity.name}
        keys = self._inventory.find(strangers, {"seq": 1}, session=self.session)
        met = await self._stored("_id", [self.entity.key(row["seq"]) async for row in keys])
        return await self._records.count_documents({}, session=self.session) - met

    async def _stored(self, field: str, values: Sequence[Any]) -> int:
        return await _count_stored(self._records, field, values, self.session)

    @property
    def _inventory(self) -> Collection:
        return self.database[INVENTORY]

    @property
    def _records(self) -> Collection:
        return self.database[self.entity.name]


@dataclass(frozen=True, slots=True)
class PerParent:
    """An entity's accounts parent by parent. `rows`: the first of those that are not done to the last record."""

    rows: tuple[tuple[str, Account], ...]
    unsettled: int
    settled: int

    def as_json(self) -> dict[str, Any]:
        """`{"settled", "unsettled", "rows": [{"key", ...account}]}`."""
        rows = [{"key": key, **one.as_json()} for key, one in self.rows]
        return {"settled": self.settled, "unsettled": self.unsettled, "rows": rows}


async def accounts_per_parent(database: Database, entity: Entity, most: int = 100) -> PerParent:
    """Which parents have a record that is skipped, dead, waiting or unaccounted for: those with dead ones first."""
    assert entity.parent is not None, "a root has no parent"
    pipeline = _per_parent(entity, most)

    async def look(session: Session) -> PerParent:
        [found] = [row async for row in database[entity.name].aggregate(pipeline, allowDiskUse=True, session=session)]
        counts = {row["_id"]: row["n"] for row in found["counts"]}
        key = ENTITIES[str(entity.parent)].key
        rows = tuple((key(row["_id"]), _account_of(row)) for row in found["rows"])
        return PerParent(rows, counts.get(False, 0), counts.get(True, 0))

    return await _at_one_moment(database, look)


@dataclass(frozen=True, slots=True)
class OfParent:
    """`settled`: done to the last record."""

    key: str
    account: Account
    settled: bool


async def each_parent(database: Database, entity: Entity) -> AsyncIterator[OfParent]:
    """Every parent's account, by its number, as all were at one moment; they are not held together."""
    key, pipeline = ENTITIES[str(entity.parent)].key, [*_by_parent(entity), {"$sort": {"_id": 1}}]
    for again in range(_SNAPSHOTS, -1, -1):
        begun = False
        try:
            async with await database.client.start_session(snapshot=True) as session:
                rows = database[entity.name].aggregate(pipeline, allowDiskUse=True, session=session)
                async for row in rows:
                    begun = True
                    yield OfParent(key(row["_id"]), _account_of(row), row["settled"])
                return
        except OperationFailure as failure:
            if failure.code != _SNAPSHOT_UNAVAILABLE or begun or not again:
                raise
        await asyncio.sleep(_SNAPSHOT_PAUSE_S)


def _per_parent(entity: Entity, most: int) -> list[dict[str, Any]]:
    """What comes back is bounded."""
    first = [{"$match": {"settled": False}}, {"$sort": {"dead": -1, "waiting": -1, "_id": 1}}, {"$limit": most}]
    counts = [{"$group": {"_id": "$settled", "n": {"$sum": 1}}}]
    return [*_by_parent(entity), {"$facet": {"rows": first, "counts": counts}}]


def _by_parent(entity: Entity) -> list[dict[str, Any]]:
    """Both sides of the ledger added up by parent, on the server."""
    status = "$_id.status"
    sides = ("read", "stored", "done", "dead", "waiting")
    skipped = {"reason": {"$ifNull": ["$_id.reason", "None"]}, "n": "$n"}
    records = {
        "parent": "$_id.parent",
        "stored": "$n",
        "done": {"$cond": [{"$eq": [status, IMPORT_OK]}, "$n", 0]},
        "dead": {"$cond": [{"$eq": [status, IMPORT_ERR]}, "$n", 0]},
        "waiting": {"$cond": [{"$in": [status, list(WAITING)]}, "$n", 0]},
        "skips": {"$cond": [{"$eq": [status, SKIPPED]}, skipped, "$$REMOVE"]},
    }
    read = {"parent": "$seq", "read": _READ_BY_WALK, "open": {"$not": [_IS_CLOSED]}}
    rows = [{"$match": {"family": entity.family, "entity": entity.parent}}, {"$project": {"_id": 0, **read}}]
    sums = {name: {"$sum": f"${name}"} for name in sides}
    settled = {"$and": [{"$eq": ["$read", "$stored"]}, {"$eq": ["$done", "$stored"]}]}
    return [
        {"$group": {"_id": {"parent": "$parent", "status": "$status", "reason": "$skip_reason"}, "n": {"$sum": 1}}},
        {"$project": {"_id": 0, **records}},
        {"$unionWith": {"coll": INVENTORY, "pipeline": rows}},
        {"$group": {"_id": "$parent", **sums, "open": {"$max": "$open"}, "skips": {"$push": "$skips"}}},
        {"$set": {"read": {"$cond": ["$open", "$stored", "$read"]}}},
        {"$set": {"settled": settled}},
    ]


def _account_of(row: Mapping[str, Any]) -> Account:
    skipped = {str(one["reason"]): int(one["n"]) for one in row["skips"]}
    return Account(row["read"], row["done"], skipped, row["dead"], row["waiting"])


async def dead_letter_states(database: Database, family: Family) -> dict[str, int]:
    """How many dead letters of the family's entities are in each state."""
    states = {"dead": 0, "replaying": 0, "replayed": 0, "superseded": 0, "discarded": 0}
    match = {"entity": {"$in": [entity.name for entity in family.entities]}}
    group = {"_id": "$state", "n": {"$sum": 1}}
    async for row in database[DEAD_LETTERS].aggregate([{"$match": match}, {"$group": group}]):
        states[row["_id"]] = row["n"]
    return states
