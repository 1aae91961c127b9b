"""Record documents and the id map in MongoDB."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from chatferry.common.adapters.mongo import Database, Document, UpdateMany, UpdateOne, mongo_outage
from chatferry.common.documents import ENTITY_STATES, ID_MAP, IMPORT_OK, SKIPPED
from chatferry.common.entities import Entity
from chatferry.importer.domain.standing import FamilyState, Standing, outlasting
from chatferry.importer.ports import Done

_SEEN = {"version": 1, "status": 1, "imported_version": 1, "attempts": 1, "last_error": 1}
# Looking a key up in the literal list is linear: longer lists make the server's work square.
_GROUP = 100


class MongoRecords:
    """Ports `Records` and `Errors`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def standings(self, entity: Entity, keys: Collection[str]) -> dict[str, Standing]:
        with mongo_outage():
            found = await self._database[entity.name].find({"_id": {"$in": list(keys)}}, _SEEN).to_list(None)
        return {row["_id"]: _standing(row) for row in found}

    async def imported(self, entity: Entity, keys: Collection[str]) -> set[str]:
        wanted = {"_id": {"$in": list(keys)}, "imported_version": {"$gt": 0}}
        with mongo_outage():
            return {row["_id"] for row in await self._database[entity.name].find(wanted, {"_id": 1}).to_list(None)}

    async def mark_done(self, entity: Entity, done: Sequence[Done]) -> set[str]:
        told = {(d.record.key, d.record.version): d for d in done}
        if not told:
            return set()
        groups = list(_by_version(told.values()))
        collection = self._database[entity.name]
        with mongo_outage():
            result = await collection.bulk_write([_done(group) for group in groups], ordered=False)
            if result.matched_count == len(told):
                return set()
            await collection.bulk_write([_superseded(group) for group in groups], ordered=False)
            unaware = [key for (key, _), one in told.items() if not one.erred_before]
            erred = collection.find({"_id": {"$in": unaware}, "last_error": {"$ne": None}}, {"version": 1})
            return {row["_id"] async for row in erred if (row["_id"], row["version"]) in told}

    async def left(self, entity: Entity, most: int) -> dict[str, int]:
        erred = {"status": IMPORT_OK, "last_error": {"$gt": ""}}
        with mongo_outage():
            found = self._database[entity.name].find(erred, {"version": 1}).hint("forgotten").limit(most)
            return {row["_id"]: row["version"] async for row in found}

    async def forgive(self, entity: Entity, versions: Mapping[str, int]) -> None:
        groups: dict[int, list[str]] = defaultdict(list)
        for key, version in versions.items():
            groups[version].append(key)
        gone = {"$unset": {"last_error": "", "attempts": ""}}
        updates = [
            UpdateMany({"_id": {"$in": keys}, "version": version, "status": IMPORT_OK}, gone)
            for version, keys in groups.items()
        ]
        with mongo_outage():
            await self._database[entity.name].bulk_write(updates, ordered=False)

    async def mark_failed(self, entity: Entity, status: str, failed: Sequence[tuple[str, int, int, str]]) -> None:
        groups: dict[tuple[int, int, str], list[str]] = defaultdict(list)
        for key, version, attempts, code in failed:
            groups[version, attempts, code].append(key)
        updates = [
            UpdateMany(
                {
                    "_id": {"$in": keys},
                    "version": version,
                    "imported_version": {"$not": {"$gte": version}},
                    "status": {"$nin": outlasting(status)},
                },
                {"$set": _failed(status, attempts, code)},
            )
            for (version, attempts, code), keys in groups.items()
        ]
        if updates:
            with mongo_outage():
                await self._database[entity.name].bulk_write(updates, ordered=False)


def _failed(status: str, attempts: int, code: str) -> Document:
    if status == SKIPPED:
        return {"status": status, "skip_reason": code}
    return {"status": status, "attempts": attempts, "last_error": code}


def _standing(row: Document) -> Standing:
    return Standing(
        version=row["version"],
        status=row["status"],
        imported_version=row.get("imported_version") or 0,
        attempts=row.get("attempts") or 0,
        erred=row.get("last_error") is not None,
    )


def _by_version(done: Iterable[Done]) -> Iterator[list[Done]]:
    """Groups that one update can write: of one version, and alike in what has to be taken away."""
    groups: dict[tuple[int, bool], list[Done]] = defaultdict(list)
    for one in done:
        groups[one.record.version, one.erred_before].append(one)
    for group in groups.values():
        for start in range(0, len(group), _GROUP):
            yield group[start : start + _GROUP]


def _done(group: Sequence[Done]) -> UpdateMany:
    """One pipeline for all: each field more costs the server about 10 µs a record, so it sets what is needed only."""
    version, erred = group[0].record.version, group[0].erred_before
    keys = [one.record.key for one in group]
    ids = [one.target_id for one in group]
    told: Document = {"$arrayElemAt": [{"$literal": ids}, {"$indexOfArray": [{"$literal": keys}, "$_id"]}]}
    fields: Document = {
        "status": IMPORT_OK,
        "imported_version": version,
        "imported_hash": "$payload_hash",
        "target_id": {"$ifNull": [told, "$target_id"]} if None in ids else told,
    }
    # An error that nobody here knows of has more to it than this document: a dead letter that must end first.
    known = {} if erred else {"last_error": None}
    return UpdateMany({"_id": {"$in": keys}, "version": version, **known}, [{"$set": fields}])


def _superseded(group: Sequence[Done]) -> UpdateMany:
    """The document has newer content by now: its status is not ours, but what the target has is."""
    version = group[0].record.version
    keys = [one.record.key for one in group]
    return UpdateMany({"_id": {"$in": keys}, "version": {"$gt": version}}, {"$max": {"imported_version": version}})


class MongoIds:
    """Port `Ids`."""

    def __init__(self, database: Database) -> None:
        self._map = database[ID_MAP]

    async def learn(self, entity: Entity, ids: Mapping[str, str]) -> None:
        updates = [
            UpdateOne({"_id": key}, {"$set": {"entity": entity.name, "target_id": target_id}}, upsert=True)
            for key, target_id in ids.items()
        ]
        if updates:
            with mongo_outage():
                await self._map.bulk_write(updates, ordered=False)


class MongoFamilies:
    """Port `Families`."""

    def __init__(self, database: Database) -> None:
        self._states = database[ENTITY_STATES]

    async def states(self) -> dict[str, FamilyState]:
        with mongo_outage():
            fields = ("set_open", "blocked", "halted", "set_run")
            rows = await self._states.find({}, dict.fromkeys(fields, 1)).to_list(None)
        return {
            row["_id"]: FamilyState(
                row.get("set_open") is True, row.get("blocked"), row.get("halted"), row.get("set_run")
            )
            for row in rows
        }

    async def block(self, family: str, sentence: str | None) -> None:
        change = {"$unset": {"blocked": ""}} if sentence is None else {"$set": {"blocked": sentence}}
        with mongo_outage():
            await self._states.update_one({"_id": family}, change)

    async def halt(self, family: str, sentence: str) -> None:
        with mongo_outage():
            await self._states.update_one({"_id": family}, {"$set": {"halted": sentence}}, upsert=True)
