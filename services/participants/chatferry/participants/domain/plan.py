"""Which chat is read next, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import IntEnum
from zoneinfo import ZoneInfo

_DAY_MS = 86_400_000
_UNCONFIRMED_MS = 10_000
_OWN_LEAST_MS, _OWN_MS_EACH = 60_000, 100
# One answer that a chat is lost may be a mistake of that moment, two within ten minutes of the hour.
_LOST_AGAIN_MS = (600_000, 3_600_000)
SURELY_LOST = len(_LOST_AGAIN_MS) + 1
"""So many reads, one after the other, leave no doubt that a chat is lost."""


class Urgency(IntEnum):
    """Who goes first: the lower, the sooner."""

    ASKED = 0
    """A reader waits for it."""
    CHANGED = 1
    """An event says that it has changed."""
    TOP = 2
    """One of the most active."""
    NIGHTLY = 3
    SAFETY = 4
    """In case an event was lost."""


@dataclass(frozen=True, slots=True)
class PlanRules:
    """`update_s`: from one pass over the top to the next; `safety_s`: for every chat; `untrusted_s`: for chats whose
    events cannot be trusted; `fresh_s`: how long a count is fresh."""

    update_s: int
    safety_s: int
    untrusted_s: int
    fresh_s: int
    full_hour: int
    timezone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides when a chat is due. `read_ms`: when its last read was started; 0: never. `spread`: in [0, 1), of the
    chat's id, so that equal intervals do not fall on one moment. `moved_ms`: since when events have moved its count and
    no read has confirmed it. `lost`: how many reads in a row, the last one among them, say that the bot is out.
    """

    read_ms: int
    trusted: bool
    top: bool
    spread: float
    moved_ms: int | None = None
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the most active chats, of all replicas at once. `since_ms`: what was read at that time or later has
    been confirmed since the pass before, and not by it."""

    begun_ms: int
    since_ms: int


def pass_at(now_ms: int, rules: PlanRules, top_n: int) -> Pass:
    """The newest: they begin at the multiples of their interval, so that replicas agree on them without talking."""
    every_ms = rules.update_s * 1_000
    begun_ms = now_ms - now_ms % every_ms
    # Nothing says of a read what it was for. What a pass reads itself is read soon after its begin; were that taken for
    # a confirmation, every other pass would leave its chats out.
    own_ms = max(_OWN_LEAST_MS, top_n * _OWN_MS_EACH)
    return Pass(begun_ms, begun_ms - max(0, every_ms - own_ms))


@dataclass(frozen=True, slots=True)
class Due:
    """When a chat is to be read next, without anybody's asking."""

    at_ms: int
    urgency: Urgency


def due(standing: Standing, rules: PlanRules, nightly_ms: int, turn: Pass) -> Due:
    """The first reason that comes up. `nightly_ms`: when the last night's pass began (`last_night`). `turn`: the newest
    pass over the top; `standing.top` says who was chosen for it.

    A read for whatever reason counts for all: what an event-driven one has confirmed is not read again before its time.
    """
    if standing.read_ms == 0:
        return Due(0, Urgency.TOP if standing.top else Urgency.SAFETY)
    if standing.moved_ms is not None:
        # The event wanted a read soon; that wish may have been lost.
        return Due(standing.moved_ms + _UNCONFIRMED_MS, Urgency.CHANGED)
    if standing.read_ms < nightly_ms:
        return Due(nightly_ms, Urgency.NIGHTLY)
    if standing.lost:
        # Once a night only: in case the event that brought the bot back was lost.
        night = Due(nightly_ms + _DAY_MS, Urgency.NIGHTLY)
        if standing.lost >= SURELY_LOST:
            return night
        sooner = Due(standing.read_ms + _LOST_AGAIN_MS[standing.lost - 1], Urgency.SAFETY)
        return min(sooner, night, key=lambda one: one.at_ms)
    safety = Due(_safety_ms(standing, rules, nightly_ms), Urgency.SAFETY)
    if not standing.top or _left_out(standing.read_ms, rules, turn):
        return safety
    return min(Due(turn.begun_ms, Urgency.TOP), safety, key=lambda one: one.at_ms)


def _safety_ms(standing: Standing, rules: PlanRules, nightly_ms: int) -> int:
    every_ms = 1_000 * (rules.safety_s if standing.trusted else min(rules.untrusted_s, rules.safety_s))
    latest_ms = standing.read_ms + every_ms
    if nightly_ms + _DAY_MS <= latest_ms:
        # The night's pass comes before that, and is this read too. Where clocks make it later, this one is made.
        return latest_ms
    # Between nine tenths and the whole of it: never later than promised.
    return standing.read_ms + int(every_ms * (0.9 + 0.1 * standing.spread))


def _left_out(read_ms: int, rules: PlanRules, turn: Pass) -> bool:
    """Whether this pass has no need of a chosen chat: it has read it, or something else has since the pass before; and
    that count will not be stale before the next."""
    if read_ms >= turn.begun_ms:
        return True
    return read_ms >= turn.since_ms and read_ms + rules.fresh_s * 1_000 >= turn.begun_ms + rules.update_s * 1_000


def last_night(now: datetime, rules: PlanRules) -> datetime:
    """The newest moment of `full_hour` o'clock that is not in the future; an hour that a clock change leaves out is the
    one after it."""
    local = now.astimezone(rules.timezone)
    for days in (0, 1):
        day = local.date() - timedelta(days=days)
        begun = datetime.combine(day, time(rules.full_hour), rules.timezone).astimezone(now.tzinfo)
        if begun <= now:
            return begun
    raise AssertionError("yesterday is never in the future")


@dataclass(frozen=True, slots=True)
class Debounce:
    """A chat's reads that events ask for: `wait_ms` after the first of them, however many follow."""

    wait_ms: int = 1_500
