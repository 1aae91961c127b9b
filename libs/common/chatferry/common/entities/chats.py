"""Chats and their messages (requirements 000)."""

from __future__ import annotations

from collections.abc import Iterable

from chatferry.common.contracts.records import Chat, ChatMessage
from chatferry.common.entities.entity import Entity, Family, Payload


def _users_of_chat(chat: Payload) -> Iterable[int]:
    if chat["owner_id"] is not None:
        yield chat["owner_id"]
    yield from chat["manager_ids"]
    yield from chat["participant_ids"]


def _users_of_message(message: Payload) -> Iterable[int]:
    if message["author_id"] is not None:
        yield message["author_id"]
    for reaction in message["reactions"]:
        yield from reaction["user_ids"]


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
    parent_of=lambda message: int(message["chat_id"]),
)

CHATS_FAMILY = Family(name="chats", scope="im", entities=(CHATS, CHAT_MESSAGES), needs=("users",))
