"""The catalogue's other half in MongoDB: what MAX says of chats, and which chat of the portal is which of MAX's."""

from __future__ import annotations

from typing import cast

from chatferry.common.adapters.mongo import (
    Database,
    Document,
    DuplicateKeyError,
    OperationFailure,
    ReturnDocument,
    Session,
    mongo_outage,
)
from chatferry.common.clock import Clock
from chatferry.participants.adapters.mongo_entries import CHATS, changed_fields, count_stages, entry_of, if_newer
from chatferry.participants.domain.catalogue import Entry, own_id
from chatferry.participants.domain.counts import ChatId, Mark, MaxChatId
from chatferry.participants.ports import MaxChatTakenError, Told

_ATTEMPTS = 10
_PAUSE_S = 0.01
_TRANSIENT = "TransientTransactionError"
_COUNTED = (Mark.CONFIRMED.value, Mark.PROVISIONAL.value)
_OF_MAX = ("max_chat", "max_title", "max_title_at", "trusted", "trusted_at", "count")


class MongoMaxSide:
    """Port `MaxSide`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._client, self._chats, self._clock = database.client, database[CHATS], clock

    async def arrived(self, max_chat: MaxChatId, title: str | None) -> Entry | None:
        own = own_id(max_chat)
        if own is None:
            return None
        fields: Document = {"listed": True, "max_chat": max_chat, "ended": "$$REMOVE"}
        if title is not None:
            fields["max_title"] = {"$literal": title}
        with mongo_outage():
            while True:
                found = await self._chats.find_one({"max_chat": max_chat})
                if found is not None:
                    return entry_of(found)
                try:
                    made = await self._chats.find_one_and_update(
                        {"_id": own}, [{"$set": fields}], upsert=True, return_document=ReturnDocument.AFTER
                    )
                except DuplicateKeyError:
                    # Somebody has just made it, or linked it to a chat of the portal.
                    continue
                return entry_of(made)

    async def note(self, chat: ChatId, told: Told) -> Entry | None:
        # Says itself: whether it matches shows also when nothing else was told.
        fields: Document = {"max_chat": "$max_chat"}
        if told.title is not None:
            fields |= if_newer("max_title", told.title, "max_title_at", told.at_ms)
        if told.trusted is not None:
            fields |= if_newer("trusted", told.trusted, "trusted_at", told.at_ms)
        if told.activity_ms is not None:
            fields["activity"] = {"$max": ["$activity", told.activity_ms]}
        stages: list[Document] = [{"$set": fields}]
        if told.count is not None:
            stages += count_stages(told.count)
        whose: Document = {"$exists": True} if told.max_chat is None else {"$eq": told.max_chat}
        which: Document = {"_id": chat, "max_chat": whose}
        with mongo_outage():
            found = await self._chats.find_one_and_update(which, stages, return_document=ReturnDocument.AFTER)
            # The driver's types do not know that there may be none.
            noted = cast("Document | None", found)
        return None if noted is None else entry_of(noted)

    async def link(
        self, chat: ChatId, max_chat: MaxChatId | None, *, unless_linked: bool = False
    ) -> frozenset[ChatId] | None:
        with mongo_outage():
            async with await self._client.start_session() as session:
                for attempt in range(1, _ATTEMPTS):
                    try:
                        return await self._linked(session, chat, max_chat, unless_linked)
                    except OperationFailure as failure:
                        # Somebody else has written one of the two just now, or is about to.
                        if not isinstance(failure, DuplicateKeyError) and not failure.has_error_label(_TRANSIENT):
                            raise
                        await self._clock.sleep(_PAUSE_S * attempt)
                return await self._linked(session, chat, max_chat, unless_linked)

    async def _linked(
        self, session: Session, chat: ChatId, max_chat: MaxChatId | None, unless_linked: bool
    ) -> frozenset[ChatId] | None:
        async with session.start_transaction():
            known = await self._chats.find_one({"_id": chat, "version": {"$exists": True}}, session=session)
            if known is None:
                return None
            if known.get("max_chat") == max_chat:
                # Whoever made it so may have come no further.
                return frozenset({chat, ChatId(known.get("former", chat))})
            if unless_linked and "max_chat" in known:
                return frozenset()
            other = None
            if max_chat is not None:
                other = await self._chats.find_one({"max_chat": max_chat}, session=session)
            if other is not None:
                if other["_id"] > 0:
                    raise MaxChatTakenError
                await self._chats.update_one({"_id": other["_id"]}, _parted(), session=session)
            told = {"max_chat": max_chat, **_taken_over(other or {})} if max_chat is not None else {}
            former = own_id(known["max_chat"]) if "max_chat" in known else None
            stages = [*_joined(told, (other or {}).get("activity")), {"$set": {"former": former or "$$REMOVE"}}]
            await self._chats.update_one({"_id": chat}, stages, session=session)
            if former is not None:
                # A link that was mistaken leaves nothing: MAX has named the chat before, or told its count since.
                counted = known.get("count", {}).get("mark") in _COUNTED
                which: Document = {"_id": former} if counted else {"_id": former, "ended": True}
                await self._chats.update_one(which, _revived(known), upsert=counted, session=session)
            return frozenset({chat, former or chat, ChatId((other or known)["_id"])})


def _parted() -> list[Document]:
    """What becomes of MAX's own entry of the chat: it ends, and whoever was told of it has to hear of that."""
    ended: Document = {"ended": True, **changed_fields({"$gt": ["$seq", 0]})}
    return [*_joined({}, None), {"$set": ended}, {"$unset": ["activity"]}]


def _revived(known: Document) -> list[Document]:
    """The entry of the chat of MAX that `known` was until now."""
    told = {"max_chat": known["max_chat"], **_taken_over(known)}
    return [*_joined(told, None), {"$set": {"listed": True}}, {"$unset": ["ended"]}]


def _taken_over(other: Document) -> Document:
    """The count's stamp is of another slot, whose epochs say nothing here: the next read, of any epoch, is newer."""
    told = {name: other[name] for name in _OF_MAX if name in other}
    if "count" in told:
        told["count"] = {**told["count"], "epoch": 0}
    return told


def _joined(told: Document, activity_ms: int | None) -> list[Document]:
    """Everything of MAX's is as told, or goes."""
    before = [{"$ifNull": [f"$count.{name}", None]} for name in ("count", "mark")]
    after = told.get("count", {})
    differs = {"$ne": [before, [after.get("count"), after.get("mark")]]}
    fields = {name: {"$literal": told[name]} if name in told else "$$REMOVE" for name in _OF_MAX}
    return [{"$set": changed_fields(differs)}, {"$set": {**fields, "activity": {"$max": ["$activity", activity_ms]}}}]
