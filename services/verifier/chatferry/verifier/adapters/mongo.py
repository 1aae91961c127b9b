"""Records and inventory in the project's database. Every query of the full comparison walks an index."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from chatferry.common.adapters.mongo import Database, Document, mongo_outage
from chatferry.common.documents import DEAD_LETTERS, ID_MAP, IMPORT_OK, INVENTORY, SKIPPED
from chatferry.common.entities import Entity, Family
from chatferry.common.entities.users import USERS
from chatferry.common.ledger import account, accounts_per_parent, dead_letter_states, gap_of
from chatferry.verifier.domain.comparison import Fingerprint
from chatferry.verifier.domain.facts import Acceptance, Counts, Row, Stored
from chatferry.verifier.domain.lines import SourceLine

_LINE = dict.fromkeys(
    ("seq", "version", "payload_hash", "status", "imported_version", "flags", "imported_hash", "target_id"), 1
)
_ROWS_AT_ONCE = 200
_USERS_AT_ONCE = 1_000


class MongoRecords:
    """The Records port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, entity: Entity, parent: int | None, after: int, limit: int) -> list[SourceLine]:
        query = {"parent": parent, "seq": {"$gt": after}}
        with mongo_outage():
            found = self._database[entity.name].find(query, _LINE).sort("seq", 1).limit(limit).batch_size(limit + 1)
            return [_line(document) for document in await found.to_list(limit)]

    async def payloads(self, entity: Entity, keys: Collection[str]) -> dict[str, dict[str, Any]]:
        query = {"_id": {"$in": list(keys)}, "payload": {"$ne": None}}
        with mongo_outage():
            return {row["_id"]: row["payload"] async for row in self._database[entity.name].find(query, {"payload": 1})}

    async def stored(self, entity: Entity, parents: Sequence[int]) -> dict[int, Stored]:
        there = {"$gt": ["$imported_version", None]}
        skipped = {"$and": [{"$eq": ["$status", SKIPPED]}, {"$not": [there]}]}
        group = {
            "_id": "$parent",
            "stored": {"$sum": 1},
            "ok": {"$sum": {"$cond": [{"$eq": ["$status", IMPORT_OK]}, 1, 0]}},
            "version": {"$max": "$version"},
            "imported_version": {"$max": {"$ifNull": ["$imported_version", 0]}},
            "imported": {"$sum": {"$cond": [there, 1, 0]}},
            "skipped": {"$sum": {"$cond": [skipped, 1, 0]}},
        }
        with mongo_outage():
            found = self._database[entity.name].aggregate(
                [{"$match": {"parent": {"$in": list(parents)}}}, {"$group": group}]
            )
            return {row["_id"]: _stored(row) async for row in found}


class MongoSource:
    """The Source port. Remembers which users are mapped: a mapping is never taken back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mapped: set[int] = set()

    async def rows(self, family: Family) -> AsyncIterator[list[Row]]:
        prefix = family.root.key_prefix
        # `:` is the character after `9`: keys of other entities may begin alike, and go on with a letter.
        for start, end in ((prefix, f"{prefix}:"), (f"stranger:{prefix}", f"stranger:{prefix}:")):
            after = start
            while chunk := await self._chunk({"$gt": after, "$lt": end}, family):
                yield chunk
                after = chunk[-1].key
        if listing := await self._chunk({"$eq": f"listing:{family.root.name}"}, family):
            yield listing

    async def counts(self, entity: Entity, family: Family) -> Counts:
        with mongo_outage():
            ledger = await account(self._database, entity, family)
            parents = None if entity.parent is None else await accounts_per_parent(self._database, entity)
            extracted = await self._database[entity.name].count_documents({})
            kept = await self._database[entity.name].count_documents(
                {"status": SKIPPED, "imported_version": {"$gt": 0}}
            )
        return Counts(
            source=ledger.read,
            extracted=extracted,
            imported=ledger.done,
            target=0,
            kept=kept,
            ledger=ledger.as_json(),
            balanced=ledger.balanced,
            per_parent=None if parents is None else parents.as_json(),
        )

    async def dead_letters(self, families: Sequence[Family]) -> tuple[dict[str, int], int]:
        total: dict[str, int] = {}
        doubled = 0
        for family in families:
            with mongo_outage():
                states = await dead_letter_states(self._database, family)
                doubled += await self._doubled([entity.name for entity in family.entities])
            total = {state: total.get(state, 0) + count for state, count in states.items()}
        return total, doubled

    async def _doubled(self, entities: Sequence[str]) -> int:
        """Copies of one record that died each, but for one: a send that was doubled leaves them."""
        dead = {"entity": {"$in": list(entities)}, "state": "dead", "key": {"$ne": None}}
        stages: list[Document] = [
            {"$match": dead},
            {"$group": {"_id": {"key": "$key", "version": "$version"}, "n": {"$sum": 1}}},
            {"$match": {"n": {"$gt": 1}}},
            {"$group": {"_id": None, "n": {"$sum": {"$subtract": ["$n", 1]}}}},
        ]
        found = self._database[DEAD_LETTERS].aggregate(stages, allowDiskUse=True)
        return sum([int(row["n"]) async for row in found])

    async def unmapped(self, users: Collection[int]) -> set[int]:
        asked = [user for user in users if user not in self._mapped]
        for start in range(0, len(asked), _USERS_AT_ONCE):
            keys = {USERS.key(user): user for user in asked[start : start + _USERS_AT_ONCE]}
            map_, records = [await self._target_ids(name, list(keys)) for name in (ID_MAP, USERS.name)]
            self._mapped.update(keys[key] for key, target_id in map_.items() if records.get(key) == target_id)
        return {user for user in asked if user not in self._mapped}

    async def _target_ids(self, collection: str, keys: Sequence[str]) -> dict[str, str]:
        query = {"_id": {"$in": list(keys)}, "target_id": {"$ne": None}}
        with mongo_outage():
            return {
                row["_id"]: row["target_id"] async for row in self._database[collection].find(query, {"target_id": 1})
            }

    async def _chunk(self, ids: Mapping[str, str], family: Family) -> list[Row]:
        with mongo_outage():
            found = self._database[INVENTORY].find({"_id": dict(ids)}).sort("_id", 1).limit(_ROWS_AT_ONCE)
            return [_row(document, family) for document in await found.to_list(_ROWS_AT_ONCE)]


def _line(document: Mapping[str, Any]) -> SourceLine:
    return SourceLine(
        document["_id"],
        document["seq"],
        document["version"],
        document["payload_hash"],
        document["status"],
        document.get("imported_version"),
        tuple(document.get("flags") or ()),
        document.get("imported_hash"),
        document.get("target_id"),
    )


def _stored(row: Document) -> Stored:
    fingerprint = Fingerprint(row["stored"], row["ok"], row["version"], row["imported_version"])
    return Stored(fingerprint, row["imported"], row["skipped"])


def _row(document: Document, family: Family) -> Row:
    listed = int(document.get("listed") or 0)
    return Row(
        key=document["_id"],
        entity=str(document.get("entity") or document.get("of") or family.root.name),
        seq=int(document.get("seq") or 0),
        state=str(document.get("state") or "unknown"),
        claimed=document.get("claimed"),
        listed=listed,
        read=listed + int(document.get("absent") or 0) + int(document.get("rejected") or 0),
        gap=gap_of(document),
        reason=document.get("reason"),
        accepted=_acceptance(document.get("accepted")),
        run=document.get("run"),
        watermark=document.get("watermark"),
        limited=bool((document.get("walk") or {}).get("limited")),
    )


def _acceptance(given: Mapping[str, Any] | None) -> Acceptance | None:
    if given is None:
        return None
    return Acceptance(given["by"], given.get("at"), given.get("reason"), given["gap"], given["state"])
