"""Dead letters of records that could not be read: each is written before its record, and ends with it (data.md §4).

And the end of everybody's letters where newer content takes the place of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from chatferry.common.adapters.mongo import BulkWriteError, Database, Document, InsertOne, refused_writes
from chatferry.common.clock import Clock
from chatferry.common.documents import DEAD_LETTERS, GONE, IMPORT_ERR, SKIPPED
from chatferry.common.entities import Entity
from chatferry.extractor.domain.records import Candidate

_DUPLICATE, _AT_ONCE = 11000, 500
_MINE = {"state": "dead", "service": "extractor"}
_TOLD = {"key": 1, "version": 1}
_NEWER, _NOT_STORED = "newer content was read", "its record was never stored in this version"


class Rejects:
    """A letter lives while its record's document is dead in the letter's version.

    Two writes cannot be one: a process that is killed, or held up, between the letter and the document leaves a letter
    of no document, and between newer content and the letter of the older one, whoever wrote it, a letter that holds
    back what comes after. Whoever reads the record next ends it. Every method is safe to repeat.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._letters, self._clock = database, database[DEAD_LETTERS], clock

    async def bury(self, entity: Entity, candidates: Sequence[Candidate], version: int) -> None:
        """Dead letters first: whoever sees the record's document finds its reason.

        Each version has a letter of its own, whatever became of earlier ones about the same content.
        """
        now = self._clock.now()
        letters = [InsertOne(_dead_letter(entity, one, version, now)) for one in candidates if one.payload is None]
        if not letters:
            return
        try:
            await self._letters.bulk_write(letters, ordered=False)
        except BulkWriteError as failure:
            if any(code != _DUPLICATE for code in refused_writes(failure).values()):
                raise

    async def supersede(self, keys: Sequence[str], version: int) -> None:
        """There is newer content: dead letters of the older one need no replay, whoever wrote them."""
        await self._end({"key": {"$in": list(keys)}, "state": "dead", "version": {"$lt": version}}, _NEWER)

    async def agree(self, entity: Entity, keys: Sequence[str], version: int) -> None:
        """After a read: letters of less than the stored version end, and own ones up to its version of none.

        Not those of later reads: their records may be about to be stored. Nor what an importer knows of a record that
        was never stored.
        """
        written = {"key": {"$in": list(keys)}, "state": "dead", "version": {"$lte": version}}
        letters = await self._letters.find(written, _TOLD).to_list(None)
        if letters:
            stored = await self._stored(entity, letters)
            await self._end_older(letters, stored)
            unstored = [one["_id"] for one in letters if stored.get(one["key"], 0) < one["version"]]
            if unstored:
                await self._end({"_id": {"$in": unstored}, **_MINE}, _NOT_STORED)

    async def end_older(self, entity: Entity, parent: int) -> None:
        """After a walk: letters of less than the stored version end, of what no page shows any more, too."""
        after = ""
        while letters := await self._page({"entity": entity.name, "parent": parent, "state": "dead"}, after):
            after = letters[-1]["_id"]
            await self._end_older(letters, await self._stored(entity, letters))

    async def _end_older(self, letters: Sequence[Document], stored: Mapping[str, int]) -> None:
        older = [letter["_id"] for letter in letters if letter["version"] < stored.get(letter["key"], 0)]
        if older:
            await self._end({"_id": {"$in": older}, "state": "dead"}, _NEWER)

    async def _stored(self, entity: Entity, letters: Sequence[Document]) -> dict[str, int]:
        """The stored versions of the letters' records, by key."""
        named = {"_id": {"$in": [letter["key"] for letter in letters]}}
        return {doc["_id"]: doc["version"] async for doc in self._database[entity.name].find(named, {"version": 1})}

    async def revive(self, entity: Entity, keys: Sequence[str]) -> None:
        """Records that are dead have their letters: one may have been ended while its record was about to be stored."""
        dead = {"_id": {"$in": list(keys)}, "payload": None, "status": IMPORT_ERR}
        found = self._database[entity.name].find(dead, {"version": 1})
        letters = [f"{doc['_id']}@{doc['version']}" async for doc in found]
        if letters:
            ended = {"_id": {"$in": letters}, "state": "superseded"}
            living = {"state": "dead", "reason": "$code", "at": self._clock.now()}
            await self._letters.update_many(ended, [{"$set": living}])

    async def end_gone(self, entity: Entity, parent: int, began: int) -> None:
        """After a walk that met all there is: rows without an id that it has not met since the read `began` are gone.

        Their records are skipped. Letters of no record end, too: its row is gone, or stored in another version.
        """
        old, after = {"entity": entity.name, "parent": parent, **_MINE, "version": {"$lt": began}}, ""
        while letters := await self._page(old, after):
            keys, after = [letter["key"] for letter in letters], letters[-1]["_id"]
            # The records first: whoever sees a letter that has ended finds its record skipped.
            await self._skip_unmet(entity, keys, began)
            dead = {"_id": {"$in": keys}, "status": IMPORT_ERR}
            found = self._database[entity.name].find(dead, {"version": 1})
            living = {doc["_id"]: doc["version"] async for doc in found}
            ended = [letter["_id"] for letter in letters if living.get(letter["key"]) != letter["version"]]
            if ended:
                await self._end({"_id": {"$in": ended}, "state": "dead"}, GONE)

    async def _page(self, which: Document, after: str) -> list[Document]:
        """The next letters, in order of their ids; not those of records that nobody could name."""
        next_ones = {**which, "key": {"$gt": ""}, "_id": {"$gt": after}}
        found: list[Document] = await self._letters.find(next_ones, _TOLD).sort("_id", 1).limit(_AT_ONCE).to_list(None)
        return found

    async def _skip_unmet(self, entity: Entity, keys: Sequence[str], began: int) -> None:
        unmet = {"version": {"$lt": began}, "met": {"$not": {"$gte": began}}}
        nameless = {"_id": {"$in": list(keys)}, "seq": 0, "status": IMPORT_ERR, **unmet}
        skipped = {"$set": {"status": SKIPPED, "skip_reason": GONE}}
        await self._database[entity.name].update_many(nameless, skipped)

    async def _end(self, which: Document, reason: str) -> None:
        ended = {"state": "superseded", "reason": reason, "at": self._clock.now()}
        await self._letters.update_many(which, {"$set": ended})


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
