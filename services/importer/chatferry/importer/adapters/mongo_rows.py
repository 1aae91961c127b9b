"""Rows that are known by the place of their record in Kafka: topic/partition/offset.

A topic that was made anew has other records at the places of old. Which one a row is of its `timestamp` says: Kafka
keeps the one that a record was written with, and gives it again whenever the record is read.
"""

from __future__ import annotations

from collections.abc import Collection

from chatferry.common.adapters.mongo import BulkWriteError, Document, mongo_outage, refused_writes
from chatferry.common.adapters.mongo import Collection as MongoCollection
from chatferry.common.streaming.records import RawRecord
from chatferry.importer.domain.records import place_of, shelved

_DUPLICATE = 11000


async def known_rows(rows: MongoCollection, records: Collection[RawRecord]) -> set[str]:
    """Places of those of the records that have a row: of what stood there in an older topic none is."""
    written = {place_of(record): record.timestamp for record in records}
    return {place for place, timestamp in (await _timestamps(rows, written)).items() if timestamp == written[place]}


async def insert_new(rows: MongoCollection, documents: list[Document]) -> None:
    """Rows that are there stay as they are; one of an older topic makes room. Safe to repeat."""
    taken = await _insert(rows, documents)
    if not taken:
        return
    there = await _timestamps(rows, [document["_id"] for document in taken])
    for document in taken:
        if there.get(document["_id"], document["timestamp"]) != document["timestamp"]:
            await _shelve(rows, document["_id"])
            await _insert(rows, [document])


async def _insert(rows: MongoCollection, documents: list[Document]) -> list[Document]:
    """Those for which there is a row."""
    try:
        await rows.insert_many(documents, ordered=False)
    except BulkWriteError as refused:
        codes = refused_writes(refused)
        if any(code != _DUPLICATE for code in codes.values()):
            raise
        return [documents[index] for index in codes]
    return []


async def _shelve(rows: MongoCollection, place: str) -> None:
    """First there, then no longer here: cut off in between, it is there twice, and ends twice."""
    row = await rows.find_one({"_id": place})
    if row is not None:
        offset = shelved(row["offset"])
        there = {**row, "_id": f"{row['topic']}/{row['partition']}/{offset}", "offset": offset}
        await insert_new(rows, [there])
        await rows.delete_one({"_id": place, "timestamp": row["timestamp"]})


async def _timestamps(rows: MongoCollection, places: Collection[str]) -> dict[str, int]:
    with mongo_outage():
        found = rows.find({"_id": {"$in": list(places)}}, {"timestamp": 1})
        return {row["_id"]: row["timestamp"] async for row in found}
