"""What is asked and answered: parameters and bodies read, answers rendered, and the schemas of both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from chatferry.participants.domain.catalogue import Entry, folded
from chatferry.participants.domain.counts import ChatId, Count, MaxChatId, State
from chatferry.participants.domain.pages import Query, Sort
from chatferry.participants.refusals import unreadable

SEARCH_MAX: Final = 200
IDS_MAX: Final = 1_000
DEADLINE_MS_MAX: Final = 30_000
_INT64 = 2**63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999: what a date can say."""
_SORTS = {sort.value: sort for sort in Sort}
_BOOLEANS = {"true": True, "false": False}


def _whole(value: object) -> object:
    """To JSON Schema 5.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_INT64_FORM = {"format": "int64"}
Int64 = Annotated[int, Field(ge=-_INT64, lt=_INT64, json_schema_extra=_INT64_FORM), BeforeValidator(_whole)]
Group = Annotated[int, Field(ge=-_INT64, lt=0, json_schema_extra=_INT64_FORM), BeforeValidator(_whole)]
Deadline = Annotated[int, Field(ge=1, le=DEADLINE_MS_MAX), BeforeValidator(_whole)]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)


class CountsRequest(_Asked):
    """`fresh`: read from MAX what is older than a second, and wait for it."""

    ids: list[Int64] = Field(max_length=IDS_MAX, description="Chats; one that comes twice is answered once.")
    fresh: bool = Field(default=False, description="Wait for counts that are read from MAX now.")
    deadline_ms: Deadline | None = Field(
        default=None,
        description="The answer comes by then, with what is known best; never later than the service waits anyway.",
    )


class LinkRequest(_Asked):
    """Which MAX chat a chat of the portal is."""

    max_chat_id: Group | None = Field(description="A group's or channel's id, below 0; null: none any more.")


class CountAnswer(BaseModel):
    """A chat's count, how old it is and how sure."""

    participants_count: int = Field(ge=0)
    participants_count_updated_at: datetime | None = Field(
        description="When MAX was asked and told this count; null: it never did."
    )
    participants_count_state: State


class ChatCountAnswer(CountAnswer):
    """The same with the chat's id."""

    id: Int64


class ChatAnswer(ChatCountAnswer):
    """One chat of the list."""

    title: str | None
    created_at: datetime | None
    last_activity_at: datetime | None
    max_chat_id: Int64 | None


class PageAnswer(BaseModel):
    """A page of the list."""

    chats: list[ChatAnswer]
    next_cursor: str | None = Field(description="Where the next page begins; null at the end.")
    use_cached_participants: bool = Field(description="Whether every count of the page came from the cache.")
    total: int = Field(ge=0, description="Chats on all pages of this search.")


class CountsAnswer(BaseModel):
    """Counts by chat id."""

    counts: dict[str, CountAnswer]
    unknown: list[Int64] = Field(description="There is no such chat.")
    incomplete: list[Int64] = Field(description="Fresh ones were asked for and did not come in time; see counts.")


class LinkAnswer(BaseModel):
    """As it is now."""

    id: Int64
    max_chat_id: Int64 | None


class Wrong(BaseModel):
    """What was wrong."""

    code: str
    message: str


class ErrorAnswer(BaseModel):
    """Any answer that is not 200."""

    error: Wrong


@dataclass(frozen=True, slots=True)
class PageRequest:
    """`GET /chats/all`, read."""

    query: Query
    limit: int
    cursor: str | None
    fresh: bool


def page_request(given: Mapping[str, str], page_max: int) -> PageRequest:
    """Raises RefusedCallError (422). Parameters that are not known are left alone."""
    search = given.get("search", "")
    if len(search) > SEARCH_MAX:
        raise unreadable(f"search may have {SEARCH_MAX} characters.")
    sort = _SORTS.get(given.get("sort", Sort.LAST_ACTIVITY.value))
    if sort is None:
        raise unreadable(f"sort must be one of {', '.join(Sort)}.")
    order = given.get("order", "asc" if sort is Sort.TITLE else "desc")
    if order not in ("asc", "desc"):
        raise unreadable("order must be asc or desc.")
    limit = given.get("limit", str(min(50, page_max)))
    if not _INTEGER.fullmatch(limit) or not 1 <= int(limit) <= page_max:
        raise unreadable(f"limit must be a number from 1 to {page_max}.")
    search = search.strip()
    # Marks alone are in no title.
    query = Query(sort, order == "desc", folded(search) or search)
    return PageRequest(query, int(limit), given.get("cursor"), wants_fresh(given))


def wants_fresh(given: Mapping[str, str]) -> bool:
    """Raises RefusedCallError (422)."""
    fresh = _BOOLEANS.get(given.get("fresh_participants", "false"))
    if fresh is None:
        raise unreadable("fresh_participants must be true or false.")
    return fresh


def chat_id(text: str) -> ChatId:
    """Of a path. Raises RefusedCallError (422)."""
    if not _INTEGER.fullmatch(text) or not -_INT64 <= int(text) < _INT64:
        raise unreadable("A chat's id is a whole number of 64 bits.")
    return ChatId(int(text))


def counts_request(body: bytes) -> CountsRequest:
    """Raises RefusedCallError (422)."""
    try:
        return CountsRequest.model_validate_json(body)
    except ValidationError as wrong:
        raise unreadable(_sentence(wrong, CountsRequest)) from None


def link_request(body: bytes) -> MaxChatId | None:
    """Raises RefusedCallError (422)."""
    try:
        asked = LinkRequest.model_validate_json(body).max_chat_id
    except ValidationError as wrong:
        raise unreadable(_sentence(wrong, LinkRequest)) from None
    return None if asked is None else MaxChatId(asked)


def _sentence(wrong: ValidationError, model: type[BaseModel]) -> str:
    """The first fault, with names of our own fields only."""
    error = wrong.errors(include_input=False, include_url=False, include_context=False)[0]
    if error["type"] == "json_invalid":
        return "The body is not valid JSON in UTF-8."
    known = [str(part) for part in error["loc"] if isinstance(part, int) or part in model.model_fields]
    return f"{'.'.join(known) or 'The body'}: {error['msg']}."


Rendered = dict[str, Any]


def render_count(count: Count, state: State) -> Rendered:
    """A `CountAnswer`."""
    return {
        "participants_count": count.count,
        "participants_count_updated_at": moment(count.updated_at_ms),
        "participants_count_state": state.value,
    }


def render_chat(entry: Entry, count: Count, state: State) -> Rendered:
    """A `ChatAnswer`."""
    return {
        "id": entry.id,
        "title": entry.title,
        "created_at": moment(entry.created_ms),
        "last_activity_at": moment(entry.activity_ms),
        "participants_count": count.count,
        "participants_count_updated_at": moment(count.updated_at_ms),
        "participants_count_state": state.value,
        "max_chat_id": entry.max_chat,
    }


@lru_cache(maxsize=50_000)
def moment(ms: int | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond; None too for what no date can say."""
    if ms is None or not _FIRST_MS <= ms <= _LAST_MS:
        return None
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
