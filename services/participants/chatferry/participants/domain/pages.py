"""Pages of the list of chats: sorted, searched, and continued from where a mark says."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import orjson

_SEAL_BYTES = 12
_LONGEST_CURSOR = 4_096
Place: TypeAlias = tuple[str | int | None, int]
"""Where a page ended: the last chat's sort value (null: it has none), and its id."""


class Sort(StrEnum):
    """By what chats are sorted. Those that have no value come last; equal ones by id."""

    TITLE = "title"
    LAST_ACTIVITY = "last_activity"
    PARTICIPANTS = "participants"
    CREATED = "created"


class BrokenCursorError(ValueError):
    """A cursor that this service did not give for this query."""


@dataclass(frozen=True, slots=True)
class Query:
    """`search`: folded; a chat is found when its title holds it."""

    sort: Sort
    descending: bool
    search: str

    @property
    def name(self) -> str:
        """What a cursor is bound to: it goes on with the query that it came from."""
        return f"{self.sort}:{self.descending}:{self.search}"


class Cursors:
    """Opaque, sealed marks: one that was changed, or belongs to another query, is refused."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def write(self, query: Query, place: Place) -> str:
        """The mark of a page's end."""
        body = orjson.dumps(place)
        return base64.urlsafe_b64encode(self._seal(query, body) + body).decode().rstrip("=")

    def read(self, query: Query, cursor: str) -> Place:
        """Raises BrokenCursorError."""
        if len(cursor) > _LONGEST_CURSOR or not cursor.isascii():
            raise BrokenCursorError("the cursor is none of ours")
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raise BrokenCursorError("the cursor is none of ours") from None
        seal, body = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(query, body)):
            raise BrokenCursorError("the cursor is not of this query: begin again without it")
        value, chat = orjson.loads(body)
        # The last character has bits that stand for nothing: other cursors would be read as this one.
        if cursor != self.write(query, (value, chat)):
            raise BrokenCursorError("the cursor is none of ours")
        return value, chat

    def _seal(self, query: Query, body: bytes) -> bytes:
        return hmac.new(self._secret, query.name.encode() + b"\0" + body, hashlib.sha256).digest()[:_SEAL_BYTES]
