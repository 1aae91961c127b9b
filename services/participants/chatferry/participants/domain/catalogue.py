"""The chats that are counted: what the portal's records and MAX's events have told of them."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from chatferry.participants.domain.counts import ChatId, Count, Mark, MaxChatId

_SHORT_I = unicodedata.normalize("NFD", "й")
SLOTS = 64
"""Shares of the work. A chat's slot never changes, so this number may not."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One chat. Times are milliseconds since 1970; `activity_ms`: its newest message, or MAX's last event.

    `trusted`: the bot may read all messages there, so that events of the chat come; None: nobody has said.
    `counted`: the count that outlives the cache.
    """

    id: ChatId
    title: str | None
    created_ms: int | None
    activity_ms: int | None
    static_count: int
    max_chat: MaxChatId | None = None
    trusted: bool | None = None
    counted: Count | None = None

    @property
    def count(self) -> Count:
        """What is known without the cache."""
        return self.counted if self.counted is not None else Count(self.static_count, Mark.STATIC)

    @property
    def lost(self) -> bool:
        """The bot is out, or may not read it, as far as we know."""
        return self.counted is not None and self.counted.mark in (Mark.FROZEN, Mark.DENIED)


def slot_of(chat: ChatId) -> int:
    """Which share of the work a chat belongs to."""
    return zlib.crc32(b"%d" % chat) % SLOTS


def newest_epochs(entries: Iterable[Entry]) -> dict[int, int]:
    """Of each slot, the greatest epoch of the counts that are known of its chats."""
    epochs: dict[int, int] = {}
    for entry in entries:
        if entry.counted is not None and entry.counted.stamp.epoch > 0:
            slot = slot_of(entry.id)
            epochs[slot] = max(entry.counted.stamp.epoch, epochs.get(slot, 0))
    return epochs


def spread_of(chat: ChatId) -> float:
    """A number in [0, 1) that is the chat's own."""
    return (zlib.crc32(b"spread %d" % chat) % 1_000) / 1_000


def own_id(max_chat: MaxChatId) -> ChatId | None:
    """The id of a chat that only MAX has. A dialog (above 0) has none: it always counts 2, and is nobody's group."""
    return ChatId(max_chat) if max_chat < 0 else None


def folded(text: str) -> str:
    """Text as it is searched: case and accents make no difference, and neither does ё from е; й is a letter of its own,
    and what is a breve on и. Of marks alone nothing is left."""
    # Letters of another make (𝐓, №, ™) are capitals only once they are plain ones.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join(char for char in decomposed.replace(_SHORT_I, "й") if not unicodedata.combining(char))
    return unicodedata.normalize("NFC", bare)
