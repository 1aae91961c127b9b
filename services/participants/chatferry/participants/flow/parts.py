"""What the three parts of the story share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import (
    Announcements,
    Budget,
    Catalogue,
    Counts,
    Max,
    MaxSide,
    Memory,
    Outbox,
    Slots,
    Waiting,
    Wanted,
    Why,
)


class Chats(Protocol):
    """All chats, as this replica knows them (`view.View`)."""

    def entry(self, chat: ChatId) -> Entry | None:
        """One of them."""

    def entries(self) -> Iterable[Entry]:
        """Every one, in no order."""

    def top(self, most: int) -> Collection[ChatId]:
        """The most active ones that MAX can be asked about, and tells of."""

    def learn(self, entry: Entry) -> None:
        """What this replica has just found out: it need not wait to hear of it."""


class Watch(Protocol):
    """What the story tells those who watch it (`metrics.Watching`)."""

    def read(self, seconds: float, *, changed: bool, why: Why) -> None:
        """A read ended, so long after it was wanted."""

    def called(self, kind: str) -> None:
        """A call to MAX was made."""

    def heard(self, lag_s: float) -> None:
        """An event shows in the count, so long after it happened."""

    def max_away(self, sentence: str | None) -> None:
        """MAX cannot be asked now, or can again (None)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The outside, and the chats."""

    counts: Counts
    budget: Budget
    slots: Slots
    wanted: Wanted
    waiting: Waiting
    max: Max
    catalogue: MaxSide
    linked: Catalogue
    outbox: Outbox
    announcements: Announcements
    memory: Memory
    chats: Chats
    watch: Watch


@dataclass(slots=True)
class Trust:
    """Whether events can be trusted at all. `gap_ms`: what was read last before it may have missed some."""

    events_on: bool
    gap_ms: int = 0

    def of(self, entry: Entry) -> bool:
        """Whether a change of this chat would have been told."""
        read_ms = entry.counted.stamp.started_ms if entry.counted is not None else 0
        return self.events_on and entry.trusted is True and read_ms > self.gap_ms

    def why(self, urgency: Urgency, entry: Entry) -> Why:
        """What a read of this chat is to those who count what events miss. One that a reader has asked for is no
        sample: it may be ahead of the event; nor is one of a chat whose events do not come."""
        if urgency is Urgency.CHANGED:
            return "event"
        return "audit" if urgency is not Urgency.ASKED and self.of(entry) else "other"


@dataclass(slots=True)
class Hearing:
    """`came`: MAX has brought this replica an event since the others were told of the last one."""

    came: bool = False


def learn(chats: Chats, before: Entry | None, now: Entry) -> None:
    """What the catalogue has of a chat is known here at once. `before`: what was known here when the catalogue was
    asked; where that is another by now it may be newer, in all but the count, whose order shows which is."""
    known = chats.entry(now.id)
    if known is before:
        chats.learn(now)
    elif known is not None and known.max_chat == now.max_chat:
        chats.learn(replace(known, counted=now.counted))


Held = Mapping[int, int]
"""Slot -> epoch."""
