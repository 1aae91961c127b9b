"""Record documents: inserts where nothing can be there yet, versioned updates elsewhere (data.md §2, §3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from chatferry.common.adapters.mongo import (
    BulkWriteError,
    Collection,
    Database,
    Document,
    UpdateOne,
    mongo_outage,
    refused_writes,
)
from chatferry.common.clock import Clock
from chatferry.common.contracts.canonical import payload_hash
from chatferry.common.documents import GONE, IMPORT_ERR, NEW
from chatferry.common.entities import FAMILIES, Entity
from chatferry.extractor.adapters.rejects import Rejects
from chatferry.extractor.domain.records import Candidate
from chatferry.extractor.ports import PageEntry, Saved

_DUPLICATE = 11000
_SEEN = {"payload_hash": 1, "version": 1, "seq": 1, "missed": 1, "skip_reason": 1}
_BURIED_AT_ONCE, _BURIED_BYTES, _BURIED = 500, 8 * 1024 * 1024, {"payload": 1, "flags": 1}
_LIVING = {"payload": {"$ne": None}, "payload.deleted": {"$ne": True}}
_CLEARED = ("attempts", "last_error", "skip_reason", "flags", "missed")


class MongoRecords:
    """The Records port on the project's database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._letters = database, Rejects(database, clock)

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
            missing = [one for key, one in by_key.items() if key not in stored]
            documents = [_document(one, version, flagged=flagged) for one in missing]
            stored |= await self._insert(entity, missing, documents, version) if missing else {}
            await self._seen_again(entity, stored, version)
            changed = await self._update(entity, [by_key[key] for key in stored], stored, version)
            await self._settle_letters(entity, candidates, stored if fresh else by_key, version)
        return Saved(new=len(by_key) - len(stored), changed=changed)

    async def _settle_letters(
        self, entity: Entity, candidates: Sequence[Candidate], read_before: Iterable[str], version: int
    ) -> None:
        """Of rejects, and of all that may have been read before: that read may have been cut off behind its letters."""
        rejects = [one.key for one in candidates if one.payload is None]
        if rejects:
            await self._letters.revive(entity, rejects)
        if keys := list(dict.fromkeys((*rejects, *read_before))):
            await self._letters.agree(entity, keys, version)

    async def _stored(self, entity: Entity, keys: Sequence[str]) -> dict[str, Document]:
        return {doc["_id"]: doc async for doc in self._of(entity).find({"_id": {"$in": list(keys)}}, _SEEN)}

    async def _seen_again(self, entity: Entity, stored: Mapping[str, Document], version: int) -> None:
        """A page that was read twice, a kill between the two, may show what it lacked at first."""
        keys = [key for key, doc in stored.items() if doc.get("missed")]
        if keys:
            marked = {"_id": {"$in": keys}, "missed": {"$lt": version}}
            await self._of(entity).update_many(marked, {"$unset": {"missed": ""}})
        # No interval covers them: a walk knows by this mark which of them it has not met.
        if nameless := [key for key, doc in stored.items() if not doc["seq"]]:
            await self._of(entity).update_many({"_id": {"$in": nameless}}, {"$max": {"met": version}})

    async def save_interval(
        self,
        entity: Entity,
        candidates: Sequence[Candidate],
        version: int,
        page: PageEntry,
        *,
        to_the_end: bool,
        shown_above: bool = False,
    ) -> Saved:
        by_key = {one.key: one for one in candidates}
        saved = await self.save(entity, list(by_key.values()), version, fresh=False)
        lacked = {"$gte": max(1, page.lo), "$nin": sorted({one.seq for one in candidates})}
        within = {**lacked, "$lt": page.hi}
        interval = {"parent": page.parent, "seq": lacked if to_the_end else within}
        with mongo_outage():
            # The index alone answers this, and nearly always with 0.
            absent = int(await self._of(entity).count_documents(interval))
            if absent:
                judged = within if shown_above else interval["seq"]
                living = {**interval, "seq": judged, **_LIVING, "version": {"$lt": version}}
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
        await self._letters.bury(entity, candidates, version)
        stored: dict[str, Document] = {}
        try:
            await self._of(entity).insert_many(documents, ordered=False)
        except BulkWriteError as failure:
            refused = refused_writes(failure)
            if any(code != _DUPLICATE for code in refused.values()):
                raise
            stored = await self._stored(entity, [candidates[index].key for index in refused])
        return stored

    async def _update(
        self, entity: Entity, candidates: Sequence[Candidate], stored: Mapping[str, Document], version: int
    ) -> int:
        changed = [
            one for one in candidates if _has_changed(stored[one.key], one) and stored[one.key]["version"] < version
        ]
        await self._letters.bury(entity, changed, version)
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
        await self._letters.supersede([key for key, _, _ in contents], version)
        return result.modified_count

    async def bury(self, entity: Entity, parent: int, began: int, version: int) -> None:
        await self._bury_missed(entity, parent, began, version)
        with mongo_outage():
            await self._letters.end_older(entity, parent)
            await self._letters.end_gone(entity, parent, began)

    async def _bury_missed(self, entity: Entity, parent: int, began: int, version: int) -> None:
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


def _has_changed(stored: Document, one: Candidate) -> bool:
    """What was gone and is met again is new, whatever its content."""
    return bool(stored["payload_hash"] != one.hash or stored.get("skip_reason") == GONE)


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
