"""`parked` and `dead_letters` in MongoDB."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from chatferry.common.adapters.mongo import (
    ASCENDING,
    DESCENDING,
    Database,
    Document,
    UpdateMany,
    UpdateOne,
    mongo_outage,
)
from chatferry.common.adapters.raw_form import keep_raw, read_raw
from chatferry.common.clock import Clock
from chatferry.common.documents import DEAD_LETTERS, PARENT_DISCARDED, PARKED
from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.streaming.records import Partition, RawRecord, StoredRecord
from chatferry.importer.adapters.mongo_rows import insert_new, known_rows
from chatferry.importer.domain.records import (
    EXHAUSTED,
    MISMATCH,
    ImportRecord,
    Line,
    UndecodableError,
    place_of,
    read_record,
    replayed_place,
    told_place,
)
from chatferry.importer.ports import Dead, ParkedRow, Room, StoredLine

SERVICE = "importer"
_BY_LINE = {"topic": 1, "partition": 1, "parent": 1, "offset": 1}
_LIVING = ["dead", "replaying"]


class MongoParked:
    """Ports `Parked` and `ParkedView`."""

    def __init__(self, database: Database) -> None:
        self._rows = database[PARKED]

    async def park(self, rows: Sequence[tuple[ImportRecord, str, datetime | None]]) -> None:
        with mongo_outage():
            await insert_new(self._rows, [_parked(*row) for row in rows])

    async def postpone(self, moments: Mapping[str, datetime]) -> None:
        updates = [
            UpdateOne({"_id": place}, {"$set": {"reason": "retry", "not_before": moment}})
            for place, moment in moments.items()
        ]
        with mongo_outage():
            await self._rows.bulk_write(updates, ordered=False)

    async def drop(self, places: Collection[str]) -> None:
        if places:
            with mongo_outage():
                await self._rows.delete_many({"_id": {"$in": list(places)}})

    async def lines(self, partitions: Collection[Partition]) -> list[StoredLine]:
        found = []
        for topic, partition in partitions:
            match = {"topic": topic, "partition": partition}
            with mongo_outage():
                replays = self._rows.find({**match, "replay": True}, {"parent": 1})
                moments = {row["parent"]: 0.0 async for row in replays}
                retries = self._rows.find({**match, "reason": "retry"}, {"parent": 1, "not_before": 1})
                moments.update({row["parent"]: _moment(row) async for row in retries})
                # Index `by_line` alone answers this: millions may wait, and their bodies are not touched.
                group = {"_id": "$parent", "last": {"$max": "$offset"}}
                rows = self._rows.aggregate([{"$match": match}, {"$sort": _BY_LINE}, {"$group": group}])
                found += [
                    StoredLine(Line(topic, partition, row["_id"]), moments.get(row["_id"]), row["last"])
                    async for row in rows
                ]
        return found

    async def rows(
        self, partition: Partition, parents: Collection[int], room: Room, *, replays: bool = False
    ) -> tuple[list[ParkedRow], int | None]:
        match = {"topic": partition.topic, "partition": partition.partition, "parent": {"$in": list(parents)}}
        if replays:
            match["replay"] = True
        cursor = self._rows.find(match).sort([("parent", ASCENDING), ("offset", ASCENDING)]).limit(room.rows + 1)
        taken: list[ParkedRow] = []
        size = 0
        with mongo_outage():
            async for row in cursor.batch_size(200):
                if taken and (len(taken) == room.rows or size + len(row["value"]) > room.size_bytes):
                    await cursor.close()
                    return taken, int(row["parent"])
                taken.append(ParkedRow(_raw(row, row["raw_key"], row["value"], row["headers"]), _moment(row)))
                size += len(row["value"])
        return taken, None

    async def known(self, records: Collection[RawRecord]) -> set[str]:
        return await known_rows(self._rows, records)

    async def counts(self) -> dict[str, int]:
        with mongo_outage():
            return {name: await self._rows.count_documents({"entity": name}) for name in ENTITIES}


class MongoDeadLetters:
    """Ports `DeadLetters` and `DeadView`."""

    def __init__(self, database: Database, project: str, clock: Clock) -> None:
        self._rows, self._project, self._clock = database[DEAD_LETTERS], project, clock

    async def open(self, dead: Sequence[Dead]) -> None:
        now = self._clock.now()
        with mongo_outage():
            await insert_new(self._rows, [_dead(one, self._project, now) for one in dead])

    async def uncopied(self, partitions: Collection[Partition], room: Room) -> list[Dead]:
        wanted = {
            "service": SERVICE,
            "copied": False,
            "$or": [{"topic": topic, "partition": partition} for topic, partition in partitions],
        }
        if not partitions:
            return []
        taken: list[Dead] = []
        size = 0
        cursor = self._rows.find(wanted).sort([("partition", 1), ("offset", 1)]).limit(room.rows)
        with mongo_outage():
            async for row in cursor.batch_size(20):
                size += row.get("size", 0)
                if taken and size > room.size_bytes:
                    await cursor.close()
                    break
                taken.append(self._read(row))
        return taken

    async def copied(self, places: Collection[str], *, keep_raw: bool = False) -> None:
        change: Document = {"$set": {"copied": True}}
        if not keep_raw:
            change["$unset"] = {"raw": ""}
        if places:
            with mongo_outage():
                await self._rows.update_many({"_id": {"$in": list(places)}}, change)

    async def resolve(self, replayed: Collection[str], newer: Mapping[str, int], *, given_up: bool = False) -> None:
        now = self._clock.now()
        updates = [
            UpdateMany(
                {"key": key, "state": {"$in": _LIVING}, "version": {"$lt": version}},
                {"$set": {"state": "superseded", "by": SERVICE, "at": now}},
            )
            for key, version in newer.items()
        ]
        if replayed:
            ended = {"state": "discarded", "reason": PARENT_DISCARDED} if given_up else {"state": "replayed"}
            on_the_way = {"_id": {"$in": list(replayed)}, "state": "replaying"}
            updates.append(UpdateMany(on_the_way, {"$set": {**ended, "at": now}}))
        with mongo_outage():
            await self._rows.bulk_write(updates, ordered=True)

    async def known(self, records: Collection[RawRecord]) -> set[str]:
        return await known_rows(self._rows, records)

    async def replaying(self, places: Collection[str]) -> set[str]:
        wanted = {"_id": {"$in": list(places)}, "state": "replaying"}
        with mongo_outage():
            return {row["_id"] async for row in self._rows.find(wanted, {"_id": 1})}

    async def last_offsets(self, partitions: Mapping[Partition, int]) -> dict[Partition, int]:
        last = {}
        for (topic, partition), offset in partitions.items():
            match = {"topic": topic, "partition": partition, "offset": {"$gte": offset}}
            with mongo_outage():
                row = await self._rows.find_one(match, {"offset": 1}, sort=[("offset", DESCENDING)])
            if row is not None:
                last[Partition(topic, partition)] = int(row["offset"])
        return last

    async def holding(self, entity: Entity, parents: Collection[int], *, exhausted_only: bool = False) -> set[int]:
        match: Document = {"entity": entity.name, "state": {"$in": _LIVING}, "line": {"$in": list(parents)}}
        # Of what is unreadable the line is hearsay: it holds nothing.
        match["key"] = {"$ne": None}
        if entity.parent is not None:
            # The same number, and this one has an index.
            match["parent"] = match["line"]
        if exhausted_only:
            match["error_class"] = EXHAUSTED
        with mongo_outage():
            return {row["line"] async for row in self._rows.find(match, {"line": 1})}

    def _read(self, row: Document) -> Dead:
        entity = ENTITIES[row["entity"]]
        raw = _raw(row, *read_raw(row["raw"]))
        try:
            record = read_record(raw, entity, self._project)
        except UndecodableError:
            record = None
        return Dead(raw, entity, record, row["error_class"], row["code"], row["message"], row["attempts"])


def _place(raw: RawRecord) -> Document:
    return {"topic": raw.topic, "partition": raw.partition, "offset": raw.offset, "timestamp": raw.timestamp}


def _headers(raw: RawRecord) -> list[list[Any]]:
    return [[name, value] for name, value in raw.headers]


def _parked(record: ImportRecord, reason: str, not_before: datetime | None) -> Document:
    """`parent` is the id of the line: the parent's for a child, the record's own for a root."""
    return {
        "_id": place_of(record.raw),
        "entity": record.entity.name,
        "key": record.key,
        "version": record.version,
        "parent": record.line.parent,
        **_place(record.raw),
        "reason": reason,
        "not_before": not_before,
        "replay": record.envelope.replay_of is not None,
        "raw_key": record.raw.key,
        "value": record.body,
        "headers": _headers(record.raw),
    }


def _order(dead: Dead, project: str) -> tuple[int | None, int | None]:
    """What orders replays: the line's id and the record's own. Of an unreadable record what it says of itself, which
    nobody can check; null where that is nothing, or not what its body says."""
    if dead.record is not None:
        return dead.record.line.parent, int(dead.record.key.rpartition(":")[2])
    told = None if dead.code == MISMATCH else told_place(dead.raw, dead.entity, project)
    return told or (None, None)


def _dead(dead: Dead, project: str, now: datetime) -> Document:
    record, (line, seq) = dead.record, _order(dead, project)
    replayed = replayed_place(dead.raw)
    return {
        "_id": place_of(dead.raw),
        "entity": dead.entity.name,
        "key": None if record is None else record.key,
        "version": None if record is None else record.version,
        "parent": None if dead.entity.parent is None else line,
        "line": line,
        "seq": seq,
        **({} if replayed is None else {"replay_of": replayed}),
        **_place(dead.raw),
        "error_class": dead.error_class,
        "code": dead.code,
        "message": dead.message,
        "attempts": dead.attempts,
        "state": "dead",
        "reason": dead.message,
        "by": SERVICE,
        "at": now,
        "copied": False,
        "service": SERVICE,
        "size": len(dead.raw.value or b""),
        "raw": keep_raw(dead.raw.key, dead.raw.value, dead.raw.headers),
    }


def _raw(row: Document, key: bytes | None, value: bytes | None, headers: Sequence[Sequence[Any]]) -> StoredRecord:
    return StoredRecord(
        row["topic"],
        row["partition"],
        row["offset"],
        row["timestamp"],
        None if key is None else bytes(key),
        None if value is None else bytes(value),
        tuple((name, None if given is None else bytes(given)) for name, given in headers),
    )


def _moment(row: Document) -> float:
    return row["not_before"].timestamp() if row["not_before"] is not None else 0.0
