"""The ledger of records, recomputed from what is stored: read = done + skipped + dead + waiting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chatferry.common.adapters.mongo import Database
from chatferry.common.documents import (
    DEAD_LETTERS,
    ERROR_RETRY,
    IMPORT_ERR,
    IMPORT_OK,
    INVENTORY,
    NEW,
    PARKED,
    SKIPPED,
)
from chatferry.common.entities import Entity, Family

READ, GIVEN_UP = ("closed", "resolved"), ("failed", "unreadable", "unresolvable")
"""States of a row of the inventory at its end; every other one is of a walk that is still open."""


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
    """The account of one entity, or of its records under one parent."""
    result = Account(read=await _read(database, entity, family, parent))
    match = {} if parent is None else {"parent": parent}
    group = {"_id": {"status": "$status", "reason": "$skip_reason"}, "n": {"$sum": 1}}
    async for row in database[entity.name].aggregate([{"$match": match}, {"$group": group}]):
        _enter(result, row["_id"], row["n"])
    result.due = await count_due(database, entity, parent)
    result.parked = await database[PARKED].count_documents({"entity": entity.name, **match})
    return result


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
    elif status in (NEW, ERROR_RETRY):
        result.waiting += count
    elif status == SKIPPED:
        reason = str(what.get("reason"))
        result.skipped[reason] = result.skipped.get(reason, 0) + count


async def _read(database: Database, entity: Entity, family: Family, parent: int | None) -> int:
    inventory = database[INVENTORY]
    if entity.parent is not None:
        match: dict[str, Any] = {"family": family.name, "entity": entity.parent}
        if parent is not None:
            match["seq"] = parent
        total = {"$sum": {"$add": ["$listed", "$absent", "$rejected"]}}
        rows = inventory.aggregate([{"$match": match}, {"$group": {"_id": None, "n": total}}])
        return sum([row["n"] async for row in rows])
    stored = await inventory.count_documents({"entity": entity.name, "stored": True})
    met = await inventory.count_documents({"kind": "stranger", "of": entity.name, "state": "resolved"})
    listing = await inventory.find_one({"_id": f"listing:{entity.name}"})
    return stored + met + (sum(int(listing[name]) for name in ("listed", "absent", "rejected")) if listing else 0)


async def dead_letter_states(database: Database, family: Family) -> dict[str, int]:
    """How many dead letters of the family's entities are in each state."""
    states = {"dead": 0, "replaying": 0, "replayed": 0, "superseded": 0, "discarded": 0}
    match = {"entity": {"$in": [entity.name for entity in family.entities]}}
    group = {"_id": "$state", "n": {"$sum": 1}}
    async for row in database[DEAD_LETTERS].aggregate([{"$match": match}, {"$group": group}]):
        states[row["_id"]] = row["n"]
    return states
