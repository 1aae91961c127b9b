"""The catalogue in MongoDB, one document a chat: what the portal's records say, and what has changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from chatferry.common.adapters.mongo import (
    ASCENDING,
    BulkWriteError,
    Database,
    Document,
    UpdateOne,
    mongo_outage,
    refused_writes,
)
from chatferry.participants.adapters.mongo_changes import MongoChanges, PlaceLostError
from chatferry.participants.adapters.mongo_entries import CHATS, changed_fields, entry_of
from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import ChatId, Count, MaxChatId
from chatferry.participants.ports import Change, SourceChat

_DUPLICATE = 11000
_AT_ONCE = 500
_ATTEMPTS = 5
_IDS = 64
_LOWEST = -(2 ** (_IDS - 1))
_ONLY_TOLD = {"updateDescription.updatedFields": {}, "updateDescription.removedFields": ["unannounced"]}


class MongoCatalogue:
    """Port `Catalogue`."""

    def __init__(self, database: Database) -> None:
        self._chats = database[CHATS]
        self._changes = MongoChanges(database, CHATS, unseen=_ONLY_TOLD)

    async def close(self) -> None:
        """Let go of what is open between two `changed`."""
        await self._changes.close()

    async def changed(self, since: int, most: int) -> tuple[Sequence[Entry], int]:
        # First all chats by id, from a place of the log on that was taken before; then what the log tells.
        with mongo_outage():
            if since == 0:
                return await self._page(await self._changes.now(), None, most)
            place, listing = since >> 1, since & 1
            if listing:
                return await self._page(place >> _IDS, (place & (2**_IDS - 1)) + _LOWEST, most)
            try:
                ids, place = await self._changes.after(place, most)
            except PlaceLostError:
                return await self.changed(0, most)
            rows = {row["_id"]: row async for row in self._chats.find({"_id": {"$in": list(ids)}, "listed": True})}
        return [entry_of(rows[chat]) for chat in ids if chat in rows], place << 1

    async def _page(self, place: int, after: int | None, most: int) -> tuple[Sequence[Entry], int]:
        query: Document = {"listed": True} if after is None else {"_id": {"$gt": after}, "listed": True}
        found = [entry_of(row) async for row in self._chats.find(query, sort=[("_id", ASCENDING)], limit=most)]
        if len(found) < most:
            return found, place << 1
        return found, ((place << _IDS | (found[-1].id - _LOWEST)) << 1) | 1

    async def by_max_chat(self, chats: Collection[MaxChatId]) -> dict[MaxChatId, Entry]:
        with mongo_outage():
            rows = await self._chats.find({"max_chat": {"$in": list(chats)}}).to_list(None)
        return {MaxChatId(row["max_chat"]): entry_of(row) for row in rows}

    async def note_sources(self, chats: Collection[SourceChat]) -> None:
        await self._write([UpdateOne({"_id": chat.id}, _sourced(chat), upsert=True) for chat in chats])

    async def note_activity(self, newest_ms: Mapping[ChatId, int]) -> None:
        await self._write(
            [UpdateOne({"_id": chat}, {"$max": {"activity": at_ms}}, upsert=True) for chat, at_ms in newest_ms.items()]
        )

    async def _write(self, updates: Sequence[UpdateOne]) -> None:
        for start in range(0, len(updates), _AT_ONCE):
            await self._write_some(updates[start : start + _AT_ONCE])

    async def _write_some(self, updates: Sequence[UpdateOne]) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                with mongo_outage():
                    await self._chats.bulk_write(updates, ordered=False)
                return
            except BulkWriteError as failure:
                refused = refused_writes(failure)
                # Two made the same chat's document at once: now it is there, and the update finds it.
                if set(refused.values()) != {_DUPLICATE} or attempt + 1 == _ATTEMPTS:
                    raise
                updates = [updates[position] for position in refused]


def _sourced(chat: SourceChat) -> list[Document]:
    told: Document = {
        "version": chat.version,
        "title": chat.title,
        "created": chat.created_ms,
        "static_count": chat.static_count,
    }
    newer = {"$gt": [chat.version, {"$ifNull": ["$version", -1]}]}
    # Each names the version that was there before: a stage sees none of its own changes.
    fields = {name: {"$cond": [newer, {"$literal": value}, f"${name}"]} for name, value in told.items()}
    return [{"$set": {**fields, "listed": True}}]


class MongoOutbox:
    """Port `Outbox`."""

    def __init__(self, database: Database) -> None:
        self._chats = database[CHATS]

    async def unannounced(self, most: int) -> Sequence[Change]:
        query: Document = {"unannounced": {"$gt": 0}}
        with mongo_outage():
            rows = await self._chats.find(query, sort=[("unannounced", ASCENDING)], limit=most).to_list(None)
        return [Change(ChatId(row["_id"]), _told_of(row), row["seq"]) for row in rows]

    async def announced(self, changes: Sequence[Change]) -> None:
        told = [UpdateOne({"_id": one.chat}, [{"$set": _once_told(one.seq)}]) for one in changes]
        if told:
            with mongo_outage():
                await self._chats.bulk_write(told, ordered=False)


def _told_of(row: Document) -> Count | None:
    entry = entry_of(row)
    return None if entry.id < 0 and entry.counted is None else entry.count


def _once_told(seq: int) -> Document:
    """Nothing is left to tell where this was the newest. Else the topic may have the older one last, whoever tells of
    the newer: that gets another number, and is told once more."""
    newest = {"$eq": ["$seq", seq]}
    again = changed_fields({"$not": [newest]})
    return {**again, "unannounced": {"$cond": [newest, "$$REMOVE", again["unannounced"]]}}
