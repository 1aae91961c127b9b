"""What is known of a chat's participants, and what may take its place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple, NewType

ChatId = NewType("ChatId", int)
"""A chat of ours: the portal's id, above 0; for a chat that only MAX has, its MAX id, below 0."""
MaxChatId = NewType("MaxChatId", int)
"""MAX's id: groups and channels are below 0, 64 bits."""


class Mark(StrEnum):
    """How a count came about."""

    STATIC = "static"
    """Members that the portal listed: MAX was never asked, or does not know the chat."""
    CONFIRMED = "confirmed"
    """MAX said so."""
    PROVISIONAL = "provisional"
    """Confirmed once, then moved by events that no read has confirmed yet."""
    FROZEN = "frozen"
    """The last one known: the bot is out of the chat, or the chat is closed."""
    DENIED = "denied"
    """The last one known: MAX does not let us read it."""


RANKS = {Mark.STATIC: 0, Mark.CONFIRMED: 1, Mark.PROVISIONAL: 2, Mark.DENIED: 3, Mark.FROZEN: 4}
"""Between counts of one read: what came of it later has the higher rank."""


class State(StrEnum):
    """What a reader is told. `fresh` and `stale` are confirmed counts, younger and older than the cache's time."""

    FRESH = "fresh"
    STALE = "stale"
    PROVISIONAL = "provisional"
    FROZEN = "frozen"
    DENIED = "denied"
    STATIC = "static"


class Stamp(NamedTuple):
    """When a read was started, in the order that decides between reads: the slot's epoch first (a replica that has lost
    its slot never wins), then Redis' clock in milliseconds."""

    epoch: int
    started_ms: int


NEVER = Stamp(0, 0)


@dataclass(frozen=True, slots=True)
class Count:
    """A chat's count. `stamp` is that of the read behind it; NEVER: none has been made. `told_ms`: of an earlier read,
    where that one brought no count; 0: none ever did. `moves`: how many events have moved it since that read."""

    count: int
    mark: Mark
    stamp: Stamp = NEVER
    told_ms: int | None = None
    moves: int = field(default=0, compare=False)

    @property
    def order(self) -> tuple[Stamp, int, int]:
        """The higher one stands: that of the later read, or what more events have made of the same one."""
        return self.stamp, RANKS[self.mark], self.moves

    @property
    def moved(self) -> bool:
        """Whether events have made it so, and no read has confirmed it yet."""
        return self.mark is Mark.PROVISIONAL or (self.mark is Mark.FROZEN and self.told_ms is None)

    @property
    def updated_at_ms(self) -> int | None:
        """When MAX was asked and told the count, in milliseconds since 1970; None: it never did."""
        return (self.stamp.started_ms if self.told_ms is None else self.told_ms) or None


def state_of(known: Count, now_ms: int, fresh_ms: int) -> State:
    """What a reader is told of it."""
    if known.mark is not Mark.CONFIRMED:
        return State(known.mark.value)
    return State.FRESH if now_ms - known.stamp.started_ms <= fresh_ms else State.STALE


def replaces(new: Count, known: Count | None) -> bool:
    """Whether what a read brought may be written: it was started after the one that is there."""
    return known is None or new.order > known.order


class Verdict(StrEnum):
    """What MAX answered to a read of a chat, when it was an answer about the chat at all."""

    COUNTED = "counted"
    GONE = "gone"
    """The bot is out (status removed, left), the chat is closed or suspended, or nobody knows it (404)."""
    DENIED = "denied"
    """403 about this chat."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One read. `last_event_ms`: MAX's `last_event_time`. `title`: null for dialogs and some chats."""

    verdict: Verdict
    count: int | None = None
    last_event_ms: int | None = None
    title: str | None = None


def of_answer(answer: Answer, known: Count, stamp: Stamp) -> Count:
    """The count after a read; what MAX no longer tells stays as it was known last, and as old."""
    if answer.verdict is Verdict.COUNTED:
        assert answer.count is not None
        return Count(answer.count, Mark.CONFIRMED, stamp)
    # A bot that was put out is refused too: that it is out says more.
    frozen = answer.verdict is Verdict.GONE or known.mark is Mark.FROZEN
    return Count(known.count, Mark.FROZEN if frozen else Mark.DENIED, stamp, known.updated_at_ms or 0)


def hinted(known: Count, delta: int, at_ms: int) -> Count | None:
    """The count after an event of `at_ms` (MAX's clock) that moves it; None when the event says nothing new.

    A read that was started later has counted it already. Only what MAX has confirmed once can be moved.
    """
    if known.mark not in (Mark.CONFIRMED, Mark.PROVISIONAL) or at_ms <= known.stamp.started_ms:
        return None
    count = max(0, known.count + delta)
    return replace(known, count=count, mark=Mark.PROVISIONAL, moves=known.moves + 1)


def frozen(known: Count, at_ms: int) -> Count | None:
    """The count after the bot was put out; None when a read that was started later says what is true."""
    if at_ms <= known.stamp.started_ms:
        return None
    return replace(known, mark=Mark.FROZEN, moves=known.moves + 1)
