"""The target's records in MongoDB: one document a record, so that data, version and hash are one write."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from chatferry.chat.domain.items import Kind, RefusedItemError, SourceId, Stored, TargetId
from chatferry.chat.domain.model import SHAPES, Document
from chatferry.chat.ports import AnswerTooLargeError, Inserted, Page
from chatferry.common.adapters.mongo import (
    ASCENDING,
    BulkWriteError,
    Database,
    ReplaceOne,
    decode_batch,
    mongo_outage,
    refused_writes,
)
from chatferry.common.entities import ENTITIES

_DUPLICATE = 11000
_ROUND = 128
_PAGE_BYTES = 4 * 1024 * 1024
_ANSWER_BYTES_MAX = 64 * 1024 * 1024
_EVERY_SOURCE_ID = {"$gte": -(2**53)}
_NOT_KEPT = RefusedItemError("NOT_KEPT", "the target's database refused the record", retryable=True)


async def prepare(database: Database) -> None:
    """Create the indexes that are missing. Safe to repeat. Raises OutageError."""
    with mongo_outage():
        for name, shape in SHAPES.items():
            parent = Kind(ENTITIES[name], shape).parent
            if parent is not None:
                assert shape.parent_field is not None
                await database[shape.collection].create_index([(shape.parent_field, ASCENDING), ("_id", ASCENDING)])
                # With `_id`, so that chats of 10,000 members are not read to be named.
                await database[parent.shape.collection].create_index([("target_id", ASCENDING), ("_id", ASCENDING)])


async def reachable(database: Database) -> None:
    """One round to the primary. Raises OutageError."""
    with mongo_outage():
        await database.command("ping")


@dataclass(frozen=True, slots=True)
class MongoRecords:
    """Writes (`ports.Records`). That `_id` is the source id makes an insert safe."""

    database: Database

    async def insert(self, kind: Kind, documents: Sequence[Document]) -> Inserted:
        try:
            with mongo_outage():
                await self.database[kind.shape.collection].insert_many(documents, ordered=True)
        except BulkWriteError as failure:
            [(position, code)] = refused_writes(failure).items()
            return Inserted(position, None if code == _DUPLICATE else _NOT_KEPT)
        return Inserted(len(documents))

    async def stored(self, kind: Kind, ids: Collection[SourceId]) -> dict[SourceId, Stored]:
        with mongo_outage():
            found = await (
                self.database[kind.shape.collection]
                .find({"_id": {"$in": list(ids)}}, {"target_id": 1, "version": 1})
                .to_list(None)
            )
        return {one["_id"]: Stored(TargetId(one["target_id"]), one["version"]) for one in found}

    async def replace(self, kind: Kind, documents: Sequence[Document]) -> int:
        writes = [
            ReplaceOne({"_id": document["_id"], "version": {"$lt": document["version"]}}, document)
            for document in documents
        ]
        try:
            with mongo_outage():
                done = await self.database[kind.shape.collection].bulk_write(writes, ordered=False)
        except BulkWriteError as failure:
            return len(documents) - len(refused_writes(failure))
        return done.matched_count


@dataclass(frozen=True, slots=True)
class MongoReader:
    """Reads (`ports.Reader`). A page ends with the round that fills 4 MiB: large records make short pages."""

    database: Database

    async def page(self, kind: Kind, parent: SourceId | None, after: SourceId | None, limit: int) -> Page:
        query = _query(kind, parent)
        if after is not None:
            query["_id"] = {"$gt": after}
        with mongo_outage():
            cursor = self.database[kind.shape.collection].find_raw_batches(
                query, sort=[("_id", ASCENDING)], limit=limit + 1, batch_size=_ROUND
            )
            documents: list[Document] = []
            size = 0
            async for raw in cursor:
                documents += decode_batch(raw)
                size += len(raw)
                if size >= _PAGE_BYTES:
                    break
            unfinished = bool(documents) and bool(cursor.delegate.alive)
            await cursor.close()
        return Page(documents[:limit], more=len(documents) > limit or unfinished)

    async def some(self, kind: Kind, ids: Collection[SourceId]) -> list[Document]:
        documents: list[Document] = []
        size = 0
        with mongo_outage():
            query = {"_id": {"$in": list(ids)}}
            async for raw in self.database[kind.shape.collection].find_raw_batches(query, batch_size=len(ids) + 1):
                size += len(raw)
                if size > _ANSWER_BYTES_MAX:
                    raise AnswerTooLargeError
                documents += decode_batch(raw)
        return documents

    async def sources(self, kind: Kind, targets: Collection[TargetId]) -> dict[TargetId, SourceId]:
        with mongo_outage():
            found = await (
                self.database[kind.shape.collection]
                .find({"target_id": {"$in": list(targets)}}, {"target_id": 1})
                .to_list(None)
            )
        return {TargetId(one["target_id"]): SourceId(one["_id"]) for one in found}

    async def count(self, kind: Kind, parent: SourceId | None) -> int:
        # `count` with a range on an index is exact and reads index keys only; without a query it trusts metadata
        # that an unclean shutdown may have left wrong.
        index = "_id_" if parent is None else f"{kind.shape.parent_field}_1__id_1"
        query = _query(kind, parent)
        with mongo_outage():
            answer = await self.database.command(
                "count",
                kind.shape.collection,
                query=query or {"_id": _EVERY_SOURCE_ID},
                hint=index,
                readConcern={"level": "majority"},
            )
        return int(answer["n"])


def _query(kind: Kind, parent: SourceId | None) -> dict[str, Any]:
    if parent is None:
        return {}
    assert kind.shape.parent_field is not None
    return {kind.shape.parent_field: parent}
