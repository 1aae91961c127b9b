"""The rows of a replay, and the records' documents, in MongoDB."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from chatferry.common.adapters.mongo import Database, UpdateMany, UpdateOne, mongo_outage
from chatferry.common.documents import DEAD_LETTERS, IMPORT_ERR, NEW, SKIPPED
from chatferry.operator.dlq.ports import Claimed, Letter, Outcome
from chatferry.operator.dlq.selection import Selection

BY = "operator"
_IN_ORDER = [("topic", 1), ("partition", 1), ("line", 1), ("seq", 1), ("offset", 1)]
_SEEN = {"entity": 1, "topic": 1, "key": 1, "version": 1, "copy": 1, "size": 1}
_MOST_BYTES = 16 * 1024 * 1024
_NEWER, _GIVEN_UP = "newer content was read", "its record had been given up"
_FROM_IMPORTER = {"service": "importer"}


class MongoLetters:
    """Ports `Letters` and `Watch` of one replay, known by its name."""

    def __init__(self, database: Database, name: str, now: datetime) -> None:
        self._database, self._rows = database, database[DEAD_LETTERS]
        self._name, self._now = name, now

    async def claim(self, selection: Selection) -> Claimed:
        chosen = selection.match()
        dead = {"state": "dead", **chosen}
        on_the_way = {"state": "replaying", **_FROM_IMPORTER, **chosen}
        mine = {"replay": self._name}
        with mongo_outage():
            rejects = await self._rows.count_documents({**dead, "service": {"$ne": "importer"}})
            unsettled = await self._rows.count_documents({**dead, **_FROM_IMPORTER, "copied": False})
            cut_off = await self._rows.count_documents({**on_the_way, "unsent": True})
            taken_on = await self._rows.update_many(on_the_way, {"$set": mine})
            fresh = await self._rows.update_many(
                {**dead, **_FROM_IMPORTER, "copied": True},
                {"$set": {"state": "replaying", "unsent": True, "by": BY, **mine}},
            )
        sent = max(0, taken_on.matched_count - cut_off)
        return Claimed(fresh.modified_count, cut_off, sent, rejects, unsettled)

    async def unsent(self, most: int) -> list[Letter]:
        due = {"unsent": True, "state": "replaying", "replay": self._name}
        letters: list[Letter] = []
        size = 0
        with mongo_outage():
            async for row in self._rows.find(due, _SEEN).sort(_IN_ORDER).limit(most):
                size += int(row.get("size") or 0)
                if letters and size > _MOST_BYTES:
                    break
                letters.append(_letter(row))
        return letters

    async def sent(self, ids: Collection[str]) -> None:
        if ids:
            with mongo_outage():
                await self._rows.update_many(
                    {"_id": {"$in": list(ids)}}, {"$unset": {"unsent": ""}, "$set": {"sent_at": self._now}}
                )

    async def set_back(self, reasons: Mapping[str, str]) -> None:
        """The record first: a row that is dead has a record that is."""
        with mongo_outage():
            rows = [row async for row in self._rows.find({"_id": {"$in": list(reasons)}}, _SEEN)]
            for row in rows:
                undone = {"_id": row["key"], "version": row["version"], "status": NEW}
                await self._database[row["entity"]].update_one(undone, {"$set": {"status": IMPORT_ERR}})
            updates = [
                UpdateOne(
                    {"_id": one, "state": "replaying"},
                    {"$set": {"state": "dead", "reason": why}, "$unset": {"unsent": ""}},
                )
                for one, why in reasons.items()
            ]
            await self._rows.bulk_write(updates, ordered=False)

    async def left(self) -> int:
        with mongo_outage():
            return int(await self._rows.count_documents({"replay": self._name, "state": "replaying"}))

    async def outcome(self) -> Outcome:
        with mongo_outage():
            ended = {"replay": self._name, "state": "replayed"}
            replayed = await self._rows.count_documents(ended)
            superseded = await self._rows.count_documents({**ended, "state": "superseded"})
            given_up = await self._rows.count_documents({**ended, "state": "discarded"})
            again: dict[str, int] = {}
            async for row in self._rows.aggregate(_died_again(self._name)):
                again[str(row["_id"])] = int(row["n"])
        arrived = int(replayed) - sum(again.values())
        return Outcome(arrived, int(superseded), again, given_up=int(given_up))


def _died_again(replay: str) -> list[dict[str, Any]]:
    """From the side of the deaths: they are the few. One that was sent twice may have died twice."""
    mine = [{"$match": {"replay": replay, "state": "replayed"}}, {"$project": {"_id": 1}}]
    of = {"from": DEAD_LETTERS, "localField": "_id", "foreignField": "_id", "pipeline": mine, "as": "mine"}
    return [
        {"$match": {"replay_of": {"$gt": ""}, "state": {"$ne": "superseded"}}},
        {"$group": {"_id": "$replay_of", "code": {"$first": "$code"}}},
        {"$lookup": of},
        {"$match": {"mine": {"$ne": []}}},
        {"$group": {"_id": "$code", "n": {"$sum": 1}}},
    ]


class MongoRecords:
    """Port `Records`."""

    def __init__(self, database: Database, now: datetime) -> None:
        self._database, self._now = database, now

    async def renew(self, letters: Sequence[Letter]) -> set[str]:
        moot: set[str] = set()
        by_entity: dict[str, list[Letter]] = defaultdict(list)
        for letter in letters:
            if letter.key is not None:
                by_entity[letter.entity].append(letter)
        with mongo_outage():
            for entity, group in by_entity.items():
                superseded, given_up = await self._ended(entity, group)
                await self._end(superseded, "superseded", _NEWER)
                await self._end(given_up, "discarded", _GIVEN_UP)
                ended = superseded | given_up
                await self._mark_new(entity, [letter for letter in group if letter.id not in ended])
                moot |= ended
        return moot

    async def _end(self, ids: Collection[str], state: str, reason: str) -> None:
        if ids:
            told = {"state": state, "reason": reason, "by": BY, "at": self._now}
            await self._database[DEAD_LETTERS].update_many(
                {"_id": {"$in": list(ids)}, "state": "replaying"}, {"$set": told, "$unset": {"unsent": ""}}
            )

    async def _ended(self, entity: str, letters: Sequence[Letter]) -> tuple[set[str], set[str]]:
        """Which of the letters newer content has superseded, and of which the record is skipped."""
        keys = {"_id": {"$in": [letter.key for letter in letters]}}
        found = self._database[entity].find(keys, {"version": 1, "imported_version": 1, "status": 1})
        there = {doc["_id"]: doc async for doc in found}
        superseded, given_up = set(), set()
        for letter in letters:
            doc = there.get(str(letter.key))
            if doc is None or letter.version is None:
                continue
            if max(doc["version"], (doc.get("imported_version") or 0) + 1) > letter.version:
                superseded.add(letter.id)
            elif doc["version"] == letter.version and doc["status"] == SKIPPED:
                given_up.add(letter.id)
        return superseded, given_up

    async def _mark_new(self, entity: str, letters: Sequence[Letter]) -> None:
        versions: dict[int | None, list[str | None]] = defaultdict(list)
        for letter in letters:
            versions[letter.version].append(letter.key)
        # Without its attempts: a record that had one goes to the target alone.
        anew = {"$set": {"status": NEW}, "$unset": {"attempts": ""}}
        updates = [
            UpdateMany({"_id": {"$in": keys}, "version": version, "status": IMPORT_ERR}, anew)
            for version, keys in versions.items()
        ]
        if updates:
            await self._database[entity].bulk_write(updates, ordered=False)


def _letter(row: Mapping[str, Any]) -> Letter:
    copy = row.get("copy")
    where = None if copy is None else (int(copy["partition"]), int(copy["offset"]))
    return Letter(row["_id"], row["entity"], row["topic"], row["key"], row["version"], where)
