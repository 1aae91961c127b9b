"""Giving dead letters up: their records are skipped, with the reason in the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chatferry.common.adapters.mongo import Database, UpdateMany, mongo_outage
from chatferry.common.documents import DEAD_LETTERS, IMPORT_ERR, SKIPPED, WAITING
from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.errors import FatalError
from chatferry.operator.dlq.selection import Selection

_AT_ONCE = 1_000
_LONGEST = 200
_SEEN = {"entity": 1, "key": 1, "version": 1}


@dataclass(frozen=True, slots=True)
class Word:
    """Who gives them up, when, and why."""

    by: str
    at: datetime
    reason: str

    def __post_init__(self) -> None:
        """Raises FatalError: both are kept for whoever reads the ledger."""
        if not _is_line(self.by):
            raise FatalError(
                "discard.nobody", f"a discard needs a name of one line, {_LONGEST} signs at most: --by NAME"
            )
        if not _is_line(self.reason):
            raise FatalError("discard.reason", f"a discard needs a reason of one line, {_LONGEST} signs at most")

    @property
    def skip_reason(self) -> str:
        """As the ledger counts it."""
        return f"discarded: {self.reason.strip()}"


def _is_line(text: str) -> bool:
    """What MongoDB keeps and a terminal shows: bytes of the command line that are no text are not printable."""
    return bool(text.strip()) and text.isprintable() and len(text) <= _LONGEST


@dataclass(frozen=True, slots=True)
class Discarded:
    """`letters` given up; `children`: records that waited for one of them, and are skipped with it by the importers.

    `unsettled`: left as they are, for an importer is writing them down.
    """

    letters: int
    children: int
    unsettled: int


async def discard(database: Database, selection: Selection, word: Word, *, with_children: bool) -> Discarded:
    """Safe to repeat: what is not dead any more is left alone. Raises FatalError, with nothing changed, when records
    wait for one of them and may not go with it."""
    children = await _children(database, selection)
    if children and not with_children:
        raise FatalError(
            "discard.children",
            f"{children} records wait for what would be discarded: replay it, or discard them too (--with-children)",
        )
    letters = 0
    while rows := await _next(database, selection):
        # The records first: whoever sees a row that is discarded finds its record skipped.
        rows += await _siblings(database, rows)
        await _skip(database, rows, word.skip_reason)
        letters += await _give_up(database, rows, word)
    unsettled = {"state": "dead", **selection.match()}
    with mongo_outage():
        left = int(await database[DEAD_LETTERS].count_documents(unsettled))
    return Discarded(letters, children, left)


def _dead(selection: Selection) -> dict[str, Any]:
    """One that an importer has not written down whole would be marked as failed once more."""
    settled = {"$or": [{"copied": True}, {"service": {"$ne": "importer"}}]}
    return {"$and": [{"state": "dead"}, settled, selection.match()]}


async def _next(database: Database, selection: Selection) -> list[dict[str, Any]]:
    with mongo_outage():
        return [row async for row in database[DEAD_LETTERS].find(_dead(selection), _SEEN).limit(_AT_ONCE)]


async def _siblings(database: Database, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Other dead letters of the same records, as old or older: nobody has to replay them any more."""
    newest: dict[str, int] = {}
    for row in rows:
        if row["key"] is not None:
            newest[row["key"]] = max(row["version"], newest.get(row["key"], 0))
    known = {row["_id"] for row in rows}
    others = {"key": {"$in": list(newest)}, "state": "dead"}
    with mongo_outage():
        found = [row async for row in database[DEAD_LETTERS].find(others, _SEEN)]
    return [row for row in found if row["_id"] not in known and row["version"] <= newest[row["key"]]]


async def _skip(database: Database, rows: Sequence[Mapping[str, Any]], reason: str) -> None:
    groups: dict[tuple[str, int], list[str]] = defaultdict(list)
    for row in rows:
        if row["key"] is not None:
            groups[row["entity"], row["version"]].append(row["key"])
    by_entity: dict[str, list[UpdateMany]] = defaultdict(list)
    for (entity, version), keys in groups.items():
        dead = {"_id": {"$in": keys}, "version": version, "status": IMPORT_ERR}
        by_entity[entity].append(UpdateMany(dead, {"$set": {"status": SKIPPED, "skip_reason": reason}}))
    with mongo_outage():
        for entity, updates in by_entity.items():
            await database[entity].bulk_write(updates, ordered=False)


async def _give_up(database: Database, rows: Sequence[Mapping[str, Any]], word: Word) -> int:
    told = {"state": "discarded", "reason": word.reason.strip(), "by": word.by.strip(), "at": word.at}
    chosen = {"_id": {"$in": [row["_id"] for row in rows]}, "state": "dead"}
    with mongo_outage():
        return int((await database[DEAD_LETTERS].update_many(chosen, {"$set": told})).modified_count)


async def _children(database: Database, selection: Selection) -> int:
    """Records that wait for a selected one which the target never had."""
    waiting = 0
    for parent in {entity.parent for entity in ENTITIES.values() if entity.parent is not None}:
        keys: list[str] = []
        with mongo_outage():
            dead = database[DEAD_LETTERS].find({"$and": [_dead(selection), {"entity": parent}]}, {"key": 1})
            async for row in dead:
                keys += [row["key"]] if row["key"] is not None else []
                if len(keys) == _AT_ONCE:
                    waiting += await _waiting_for(database, ENTITIES[parent], keys)
                    keys = []
        waiting += await _waiting_for(database, ENTITIES[parent], keys)
    return waiting


async def _waiting_for(database: Database, parent: Entity, keys: Sequence[str]) -> int:
    never = {"_id": {"$in": list(keys)}, "imported_version": None}
    waiting = 0
    with mongo_outage():
        seqs = [row["seq"] async for row in database[parent.name].find(never, {"seq": 1})]
        for child in (entity for entity in ENTITIES.values() if entity.parent == parent.name):
            theirs = {"status": {"$in": list(WAITING)}, "parent": {"$in": seqs}}
            waiting += await database[child.name].count_documents(theirs)
    return waiting
