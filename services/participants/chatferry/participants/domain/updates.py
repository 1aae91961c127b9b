"""What MAX tells: one Update of its webhook or long polling (reference: dev.max.ru, docs-api/objects/Update)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chatferry.participants.domain.counts import MaxChatId

_INT64 = 2**63
_Id = Annotated[int, Field(ge=-_INT64, lt=_INT64)]


class BrokenUpdateError(ValueError):
    """A body that is no Update. Says which field; never prints its value."""


class Effect(StrEnum):
    """What an update means for the count of its chat."""

    MOVES = "moves"
    """Somebody came or went: ±1 until a read confirms."""
    ARRIVES = "arrives"
    """The bot is in the chat: register it, read it, ask for the bot's rights."""
    LEAVES = "leaves"
    """The bot is out: the last known count stays; no reads any more."""
    RIGHTS = "rights"
    """The bot's rights changed: events of the chat can be trusted from now on, or no longer."""
    RENAMED = "renamed"
    ALIVE = "alive"
    """Says only that something happened in the chat."""
    NOTHING = "nothing"


_EFFECTS = {
    "user_added": Effect.MOVES,
    "user_removed": Effect.MOVES,
    "bot_added": Effect.ARRIVES,
    "bot_removed": Effect.LEAVES,
    "bot_admin_permissions_changed": Effect.RIGHTS,
    "chat_title_changed": Effect.RENAMED,
    "message_created": Effect.ALIVE,
    "message_edited": Effect.ALIVE,
    "message_removed": Effect.ALIVE,
    "message_callback": Effect.ALIVE,
}
MOVING = (Effect.MOVES, Effect.LEAVES)
"""What changes a count before any read does."""
READ_ALL = "read_all_messages"


class _Tolerant(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _User(_Tolerant):
    user_id: int | None = None


class _Recipient(_Tolerant):
    chat_id: _Id | None = None


class _Message(_Tolerant):
    recipient: _Recipient | None = None


class _Chat(_Tolerant):
    chat_id: _Id | None = None


class _Head(_Tolerant):
    update_type: str = Field(min_length=1, max_length=64)
    timestamp: Any = None
    chat_id: Any = None


class _Body(_Head):
    timestamp: int = Field(ge=0, lt=_INT64)
    chat_id: _Id | None = None
    user: _User | None = None
    title: str | None = None
    is_admin: bool | None = None
    permissions: list[str] | None = None
    chat: _Chat | None = None
    message: _Message | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """`at_ms`: when it happened, on MAX's clock. `user_id`: of `user`; the top-level one of some bodies is somebody
    else's."""

    type: str
    effect: Effect
    at_ms: int
    chat: MaxChatId | None
    user_id: int | None = None
    title: str | None = None
    trusted: bool | None = None
    """RIGHTS: whether the bot is an administrator that may read all messages, so that events come."""

    @property
    def delta(self) -> int:
        """MOVES: +1 or -1, else 0."""
        if self.effect is not Effect.MOVES:
            return 0
        return 1 if self.type == "user_added" else -1

    @property
    def identity(self) -> str:
        """MAX gives its events no id, and may send one again: these four say that it is the same."""
        return f"{self.type}:{self.chat}:{self.user_id}:{self.at_ms}"


def read_update(body: bytes) -> Update:
    """Raises BrokenUpdateError. Types and fields that are not known are no fault."""
    try:
        head = _Head.model_validate_json(body)
        named = head.update_type
        if named not in _EFFECTS:
            # What its fields are is not known: they may be anything.
            chat = _whole(head.chat_id)
            return Update(named, Effect.NOTHING, _whole(head.timestamp) or 0, None if chat is None else MaxChatId(chat))
        told = _Body.model_validate_json(body)
    except ValidationError as wrong:
        raise BrokenUpdateError(_sentence(wrong)) from None
    effect = _EFFECTS[named]
    chat = _chat_of(told)
    if effect is not Effect.ALIVE and chat is None:
        raise BrokenUpdateError(f"{told.update_type} names no chat_id")
    trusted = None
    if effect is Effect.RIGHTS:
        trusted = bool(told.is_admin) and READ_ALL in (told.permissions or ())
    user = told.user.user_id if told.user is not None else None
    return Update(told.update_type, effect, told.timestamp, chat, user, told.title, trusted)


def _whole(value: Any) -> int | None:
    return value if type(value) is int and -_INT64 <= value < _INT64 else None


def _chat_of(told: _Body) -> MaxChatId | None:
    places = [told.chat_id, told.chat.chat_id if told.chat else None]
    if told.message is not None and told.message.recipient is not None:
        places.append(told.message.recipient.chat_id)
    return next((MaxChatId(place) for place in places if place is not None), None)


def _sentence(wrong: ValidationError) -> str:
    error = wrong.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in error["loc"]) or "the body"
    return f"{place}: {error['msg']}"
