"""Chats and their messages (requirements 000; reference: bitrix24.md §5.6 to §5.8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chatferry.common.contracts.records import Chat, ChatMessage
from chatferry.common.contracts.times import ImpossibleDateError, source_time
from chatferry.common.entities.chat_walk import MESSAGES, PLANNED, ChatWalk
from chatferry.common.entities.entity import Entity, Family, Payload
from chatferry.common.entities.reading import (
    Parsed,
    Reading,
    Understanding,
    View,
    Walk,
    WalkOrder,
    counter,
    map_of,
    text_or_none,
    usable_name,
    whole,
    wholes,
)
from chatferry.common.entities.users import STRANGERS
from chatferry.common.entities.walks import OffsetWalk
from chatferry.common.errors import RejectError

# Most messages have no params; nobody changes a payload's lists, so they may share these.
_PLAIN: Mapping[str, Any] = {
    "deleted": False,
    "edited": False,
    "reply_to": None,
    "forwarded_from": None,
    "files": [],
    "reactions": [],
}
_CHANNELS = frozenset({"channel", "openChannel", "open_channel"})


def parse_chat(parts: Mapping[str, Any], _: Mapping[str, Any], told: Understanding) -> Parsed:
    """The answer of `im.dialog.get`, with `participant_ids` from both lists. Raises RejectError."""
    number = whole(parts.get("id"))
    if number is None:
        raise RejectError("record.no_id", "a chat without an id")
    kind = _kind(parts)
    created, flags = _moment(parts.get("date_create"), told) if parts.get("date_create") else (None, ())
    payload = {
        "id": number,
        "type": kind,
        "title": None if kind == "private" else _title(parts.get("name")),
        "description": text_or_none(parts.get("description")),
        "owner_id": whole(parts.get("owner")),
        "manager_ids": wholes(parts.get("manager_list")),
        "participant_ids": wholes(parts.get("participant_ids")),
        "created_at": created,
        "entity_type": text_or_none(parts.get("entity_type")),
        "entity_id": text_or_none(parts.get("entity_id")),
    }
    partial = ("partial_participants",) if parts.get("participants_partial") else ()
    return Parsed(payload, (*flags, *partial))


def _title(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _kind(parts: Mapping[str, Any]) -> str:
    code, kind = parts.get("message_type"), parts.get("type")
    if code == "P" or kind in ("private", "user"):
        return "private"
    if kind in _CHANNELS or code in ("N", "J"):
        return "channel"
    if code == "L" or kind == "lines":
        return "openline"
    if code == "X" or text_or_none(parts.get("entity_type")):
        return "object"
    return "open" if code == "O" or kind == "open" else "group"


def parse_message(row: Mapping[str, Any], extras: Mapping[str, Any], told: Understanding) -> Parsed:
    """A message of a page; `extras["files"]`: the page's files by id. Raises RejectError."""
    number, chat = whole(row.get("id")), whole(row.get("chat_id"))
    text = row.get("text")
    if number is None:
        raise RejectError("record.no_id", "a message without an id")
    if chat is None or not isinstance(text, str):
        raise RejectError("record.unreadable", "a message without a chat or a text")
    sent_at, flags = _moment(row.get("date"), told)
    author = whole(row.get("author_id"))
    payload = {
        "id": number,
        "chat_id": chat,
        "author_id": author,
        "text": text,
        "sent_at": sent_at,
        "system": author is None,
        **(_told_by_params(params, extras) if (params := map_of(row.get("params"))) else _PLAIN),
    }
    return Parsed(payload, flags)


def _told_by_params(params: Mapping[str, Any], extras: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "deleted": _yes(params.get("IS_DELETED")),
        "edited": _yes(params.get("IS_EDITED")),
        "reply_to": whole(params.get("REPLY_ID")),
        "forwarded_from": _forwarded(params),
        "files": [_file(file_id, extras) for file_id in wholes(params.get("FILE_ID"))],
        "reactions": _reactions(params.get("LIKE")),
    }


def _moment(value: Any, told: Understanding) -> tuple[dict[str, str], tuple[str, ...]]:
    try:
        moment, assumed = source_time(value, told.offset)
    except ImpossibleDateError:
        raise RejectError("record.impossible_date", "a date that does not exist") from None
    return moment, ("assumed_offset",) if assumed else ()


def _yes(value: Any) -> bool:
    return value is True or value == "Y"


def _forwarded(params: Mapping[str, Any]) -> dict[str, int | None] | None:
    message, user = whole(params.get("FORWARD_ID")), whole(params.get("FORWARD_USER_ID"))
    chat = str(params.get("FORWARD_CONTEXT_ID") or "").partition("/")[0].removeprefix("chat")
    if message is None and user is None and not chat:
        return None
    return {"chat_id": whole(chat), "message_id": message, "user_id": user}


def _file(file_id: int, extras: Mapping[str, Any]) -> dict[str, Any]:
    files: Mapping[Any, Any] = map_of(extras.get("files"))
    file = map_of(files.get(file_id))
    return {
        "id": file_id,
        "name": text_or_none(file.get("name")),
        "size_bytes": counter(file.get("size")),
        "mime_type": None,
    }


def _reactions(likes: Any) -> list[dict[str, Any]]:
    users = wholes(likes)
    return [{"reaction": "like", "user_ids": users}] if users else []


def bury_message(payload: Payload) -> dict[str, Any]:
    """A message that the portal no longer has: the rest is kept, the text is gone."""
    return {**payload, "deleted": True, "text": ""}


def _listings(_: int) -> Sequence[tuple[str, Walk]]:
    # Channels come only when they are asked for.
    return [
        ("recent", OffsetWalk("im.recent.list", {})),
        ("channels", OffsetWalk("im.recent.list", {"ONLY_CHANNEL": "Y"})),
    ]


def _row(row: Mapping[str, Any], webhook: int) -> tuple[int, View] | None:
    number, ref = whole(row.get("chat_id")), row.get("id")
    if number is None or not usable_name(ref):
        return None
    return number, View(webhook, str(ref))


def _traits(row: Mapping[str, Any], webhook: int) -> Mapping[str, Any]:
    """What the list shows of a chat beside its names moves with each of its messages."""
    told = {name: row[name] for name in ("id", "chat_id") if row.get(name)}
    return {**told, "webhook": webhook} if told else {}


def _walk(order: WalkOrder) -> Walk:
    walk = ChatWalk(order.seq, order.view.ref, page_size=order.page_size, newest=order.newest)
    walk.method = order.method if order.method is not None and order.newest is None else MESSAGES
    for name, value in order.state.items():
        setattr(walk, name, value)
    return walk


def _users_of_chat(chat: Payload) -> Iterable[int]:
    if chat["owner_id"] is not None:
        yield chat["owner_id"]
    yield from chat["manager_ids"]
    yield from chat["participant_ids"]


def _users_of_message(message: Payload) -> Iterable[int]:
    if message["author_id"] is not None:
        yield message["author_id"]
    if (forwarded := message["forwarded_from"]) is not None and forwarded["user_id"] is not None:
        yield forwarded["user_id"]
    for reaction in message["reactions"]:
        yield from reaction["user_ids"]


def _chat_of_message(message: Payload) -> int:
    return int(message["chat_id"])


CHATS = Entity(
    name="chats",
    family="chats",
    model=Chat,
    key_prefix="source:chat:",
    batch_size=20,
    user_ids=_users_of_chat,
    content=("type", "title", "description", "owner_id", "manager_ids", "participant_ids"),
)

CHAT_MESSAGES = Entity(
    name="chat_messages",
    family="chats",
    model=ChatMessage,
    key_prefix="source:chat:msg:",
    batch_size=100,
    user_ids=_users_of_message,
    content=("chat_id", "author_id", "text", "sent_at", "reply_to", "files"),
    parent="chats",
    parent_of=_chat_of_message,
)

CHATS_FAMILY = Family(
    name="chats",
    scope="im",
    entities=(CHATS, CHAT_MESSAGES),
    reading=Reading(
        methods=("im.recent.list", "im.dialog.get", "im.dialog.users.list", "im.chat.user.list", MESSAGES),
        planned=(PLANNED, MESSAGES),
        listings=_listings,
        row=_row,
        traits=_traits,
        every_webhook=True,
        parse_root=parse_chat,
        walk=_walk,
        parse_child=parse_message,
        bury=bury_message,
        strangers=STRANGERS,
    ),
    needs=("users",),
)
