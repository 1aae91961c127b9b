"""The canonical records (design: data.md §1). What the source does not say is null; keys are never left out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast

from chatferry.common.contracts.times import SourceTime

# Of a list of a megabyte that is wrong throughout one error is enough.
Ids = Annotated[list[int], FailFast()]
ChatType = Literal["private", "group", "open", "channel", "openline", "object"]


class Record(BaseModel):
    """One source record. Frozen; an unknown or a missing key is an error; errors never print what they were given."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    id: int


class User(Record):
    """An employee, extranet user or bot; dismissed ones have `active` false."""

    name: str | None
    first_name: str | None
    last_name: str | None
    email: str | None
    active: bool | None
    bot: bool | None
    external: bool | None
    work_position: str | None
    departments: Ids


class Chat(Record):
    """A dialog of any kind. `title` is null for private ones: it depends on who looks."""

    type: ChatType
    title: str | None
    description: str | None
    owner_id: int | None
    manager_ids: Ids
    participant_ids: Ids
    created_at: SourceTime | None
    entity_type: str | None
    entity_id: str | None


class ForwardedFrom(BaseModel):
    """Where a forwarded message was written first."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    chat_id: int | None
    message_id: int | None
    user_id: int | None


class File(BaseModel):
    """An attachment. `id` is the portal's Drive file id."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    id: int
    name: str | None
    size_bytes: int | None
    mime_type: str | None


class Reaction(BaseModel):
    """One kind of reaction and the users who gave it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    reaction: str
    user_ids: Ids


class ChatMessage(Record):
    """One message. `author_id` is null for a system message; `text` is the source's, BBCode included."""

    chat_id: int
    author_id: int | None
    text: str
    sent_at: SourceTime
    system: bool
    deleted: bool
    edited: bool
    reply_to: int | None
    forwarded_from: ForwardedFrom | None
    files: Annotated[list[File], FailFast()]
    reactions: Annotated[list[Reaction], FailFast()]
