"""Record documents: inserts where nothing can be there yet, versioned updates elsewhere (data.md §2, §3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from chatferry.common.adapters.mongo import (
    BulkWriteError,
    Collection,
    Database,
    Document,
    InsertOne,
    UpdateOne,
    mongo_outage,
    refused_writes,
)
from chatferry.common.clock import Clock
from chatferry.common.contracts.canonical import payload_hash
from chatferry.common.documents import DEAD_LETTERS, IMPORT_ERR, NEW
from chatferry.common.entities import FAMILIES, Entity
from chatferry.extractor.domain.records import Candidate
from chatferry.extractor.ports import PageEntry, Saved

_DUPLICATE = 11000
_SEEN = {"payload_hash": 1, "version": 1, "seq": 1, "missed": 1}
_BURIED_AT_ONCE, _BURIED_BYTES, _BURIED = 500, 8 * 1024 * 1024, {"payload": 1, "flags": 1}
_LIVING = {"payload": {"$ne": None}, "payload.deleted": {"$ne": True}}
_CLEARED = ("attempts", "last_error", "skip_reason", "flags", "missed")


class MongoRecords:
    """The Records port on the project's database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    async def save(
        self, entity: Entity, candidates: Sequence[Candidate], version: int, *, fresh: bool, flagged: bool = True
    ) -> Saved:
        if not candidates:
            return Saved()
        by_key = {one.key: one for one in candidates}
        with mongo_outage():
            # Rejects are looked up always: one that is stored has its dead letter.
            looked_up = [key for key, one in by_key.items() if not fresh or one.payload is None]
            stored = await self._stored(entity, looked_up) if looked_up else {}
            await self._seen_again(entity, stored, version)
            missing = [one for key, one in by_key.items() if key not in stored]
            documents = [_document(one, version, flagged=flagged) for one in missing]
            stored |= await self._insert(entity, missing, documents, version) if missing else {}
            changed = await self._update(entity, [by_key[key] for key in stored], stored, version)
        return Saved(new=len(by_key) - len(stored), changed=changed)

    async def _stored(self, entity: Entity, keys: Sequence[str]) -> dict[str, Document]:
        return {doc["_id"]: doc async for doc in self._of(entity).find({"_id": {"$in": list(keys)}}, _SEEN)}

    async def _seen_again(self, entity: Entity, stored: Mapping[str, Document], version: int) -> None:
        """A page that was read twice, a kill between the two, may show what it lacked at first."""
        keys = [key for key, doc in stored.items() if doc.get("missed")]
        if keys:
            marked = {"_id": {"$in": keys}, "missed": {"$lt": version}}
            await self._of(entity).update_many(marked, {"$unset": {"missed": ""}})

    async def save_interval(
        self, entity: Entity, candidates: Sequence[Candidate], version: int, page: PageEntry, *, to_the_end: bool
    ) -> Saved:
        seqs = {"$gte": max(1, page.lo)} if to_the_end else {"$gte": max(1, page.lo), "$lt": page.hi}
        by_key = {one.key: one for one in candidates}
        saved = await self.save(entity, list(by_key.values()), version, fresh=False)
        interval = {"parent": page.parent, "seq": {**seqs, "$nin": sorted({one.seq for one in candidates})}}
        with mongo_outage():
            # The index alone answers this, and nearly always with 0.
            absent = int(await self._of(entity).count_documents(interval))
            if absent:
                living = {**interval, **_LIVING, "version": {"$lt": version}}
                await self._of(entity).update_many(living, {"$max": {"missed": version}})
        return replace(saved, absent=absent)

    async def count(self, entity: Entity, parent: int, *, nameless: bool = False) -> int:
        with mongo_outage():
            return int(await self._of(entity).count_documents({"parent": parent, **({"seq": 0} if nameless else {})}))

    def _of(self, entity: Entity) -> Collection:
        return self._database[entity.name]

    async def _insert(
        self, entity: Entity, candidates: Sequence[Candidate], documents: Sequence[Document], version: int
    ) -> dict[str, Document]:
        """Insert all; returns what was stored before, by key."""
        rejects = {one.key: one.hash for one in candidates if one.payload is None}
        await self._bury_rejects(entity, candidates, version)
        stored: dict[str, Document] = {}
        try:
            await self._of(entity).insert_many(documents, ordered=False)
        except BulkWriteError as failure:
            refused = refused_writes(failure)
            if any(code != _DUPLICATE for code in refused.values()):
                raise
            stored = await self._stored(entity, [candidates[index].key for index in refused])
        if rejects:
            same = [key for key, doc in stored.items() if rejects.get(key) == doc["payload_hash"]]
            await self._take_back([f"{key}@{version}" for key in same])
            await self._supersede([key for key in rejects if key not in stored], version)
        return stored

    async def _update(
        self, entity: Entity, candidates: Sequence[Candidate], stored: Mapping[str, Document], version: int
    ) -> int:
        changed = [
            one
            for one in candidates
            if stored[one.key]["payload_hash"] != one.hash and stored[one.key]["version"] < version
        ]
        await self._bury_rejects(entity, changed, version)
        return await self._write(
            entity, [(one.key, _content(one, version), one.payload is None) for one in changed], version
        )

    async def _write(self, entity: Entity, contents: Sequence[tuple[str, Document, bool]], version: int) -> int:
        """Versioned writes: a process that wakes up late changes nothing."""
        if not contents:
            return 0
        updates = [
            UpdateOne(
                {"_id": key, "version": {"$lt": version}},
                {"$set": content, "$unset": _unset(content, reject=reject)},
            )
            for key, content, reject in contents
        ]
        result = await self._of(entity).bulk_write(updates, ordered=False)
        await self._supersede([key for key, _, _ in contents], version)
        return result.modified_count

    async def bury(self, entity: Entity, parent: int, began: int, version: int) -> None:
        bury = FAMILIES[entity.family].reading.bury
        if bury is None:
            return
        missed = {"parent": parent, "missed": {"$gte": began}, "version": {"$lt": version}, **_LIVING}
        with mongo_outage():
            while keys := await self._next_missed(entity, missed):
                docs = await self._of(entity).find({"_id": {"$in": keys}, **missed}, _BURIED).to_list(None)
                contents: list[tuple[str, Document, bool]] = []
                for doc in docs:
                    payload = bury(doc["payload"])
                    content = {"payload": payload, "payload_hash": payload_hash(payload), "version": version}
                    kept = {"flags": doc["flags"]} if doc.get("flags") else {}
                    contents.append((doc["_id"], {**content, **kept, "status": NEW, "due": True}, False))
                await self._write(entity, contents, version)

    async def _next_missed(self, entity: Entity, missed: Document) -> list[str]:
        """Keys of the next to bury: as many as may be held at once, at least one."""
        sized = {"size": {"$bsonSize": "$payload"}}
        stages: list[Document] = [{"$match": missed}, {"$limit": _BURIED_AT_ONCE}, {"$project": sized}]
        keys: list[str] = []
        left = _BURIED_BYTES
        for doc in await self._of(entity).aggregate(stages).to_list(None):
            left -= doc["size"]
            if keys and left < 0:
                break
            keys.append(doc["_id"])
        return keys

    async def _supersede(self, keys: Sequence[str], version: int) -> None:
        """There is newer content, or a newer reject: dead letters of the older one need no replay."""
        older = {"key": {"$in": list(keys)}, "state": "dead", "version": {"$lt": version}}
        await self._end_letters(older, "newer content was read")

    async def _take_back(self, letters: Sequence[str]) -> None:
        """Another process has stored these rejects in the same moment, with letters of its own."""
        if letters:
            await self._end_letters({"_id": {"$in": list(letters)}, "state": "dead"}, "it was read twice")

    async def _end_letters(self, which: Document, reason: str) -> None:
        ended = {"state": "superseded", "reason": reason, "at": self._clock.now()}
        await self._database[DEAD_LETTERS].update_many(which, {"$set": ended})

    async def _bury_rejects(self, entity: Entity, candidates: Any, version: int) -> None:
        """Dead letters first: whoever sees the record's document finds its reason.

        Each version has a letter of its own, whatever became of earlier ones about the same content.
        """
        now = self._clock.now()
        letters = [InsertOne(_dead_letter(entity, one, version, now)) for one in candidates if one.payload is None]
        if not letters:
            return
        try:
            await self._database[DEAD_LETTERS].bulk_write(letters, ordered=False)
        except BulkWriteError as failure:
            if any(code != _DUPLICATE for code in refused_writes(failure).values()):
                raise


def _unset(content: Document, *, reject: bool) -> Document:
    cleared = {name: "" for name in _CLEARED if name not in content}
    return {**cleared, "due": ""} if reject else cleared


def _document(one: Candidate, version: int, *, flagged: bool) -> Document:
    document = {"_id": one.key, "seq": one.seq, "parent": one.parent, **_content(one, version)}
    if not flagged:
        document.pop("due", None)
    return document


def _content(one: Candidate, version: int) -> Document:
    content: Document = {"payload": one.payload, "payload_hash": one.hash, "version": version}
    if one.payload is None:
        return {**content, "status": IMPORT_ERR, "last_error": one.code, "flags": []}
    content.update(status=NEW, due=True)
    if one.flags:
        content["flags"] = list(one.flags)
    return content


def _dead_letter(entity: Entity, one: Candidate, version: int, now: datetime) -> Document:
    return {
        "_id": f"{one.key}@{version}",
        "entity": entity.name,
        "key": one.key,
        "version": version,
        "hash": one.hash,
        "parent": one.parent,
        "seq": one.seq,
        "topic": entity.name,
        "partition": None,
        "offset": None,
        "error_class": "rejected",
        "code": one.code,
        "message": f"the portal's record cannot be taken ({one.code})",
        "attempts": 0,
        "state": "dead",
        "reason": one.code,
        "by": "extractor",
        "service": "extractor",
        "at": now,
        "copied": False,
        "raw": {"value": one.raw},
    }
