"""In this process alone: the calls it may make, the slots it does, and the chats that somebody wants read."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from chatferry.common.clock import Clock
from chatferry.participants.domain.catalogue import SLOTS, slot_of
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.plan import Debounce, Urgency
from chatferry.participants.ports import NEW_ENOUGH_S, NONE_AGAIN, PATIENCE_S, Claim, Grant, Held, Of

LATE_S = 0.1
"""Leave that is older than this is none: calls that wait for different times would bunch into one second."""
LONGEST_PAUSE_S = 3_600.0
_ASKED_LATELY_S = 5.0
NONE_KNOWN: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Allowance:
    """Calls of all replicas together. `limit`: what MAX allows in a second. `reserve`: calls a second that are left to
    readers who wait, while there are any."""

    per_second: int = 27
    per_hour: int = 97_200
    limit: int = 30
    reserve: int = 5

    def share(self, replicas: int) -> Allowance:
        """Of one of them, when they cannot agree."""
        second, hour, limit = (max(1, part // replicas) for part in (self.per_second, self.per_hour, self.limit))
        return replace(self, per_second=second, per_hour=hour, limit=limit)

    def late(self, may: int) -> int:
        """Of calls of which `may` are allowed in a second: how many in that and the time that leave may be late by."""
        return max(may, min(math.ceil(may * 1.1), self.limit))


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """`read_s`: longest read. `grace_s`: how long a Redis that has started anew waits for those who hold its slots."""

    read_s: float
    lease_s: float = 10.0
    grace_s: float = 5.0

    @property
    def usable_s(self) -> float:
        """How long after a lease was renewed a read may still begin."""
        return self.lease_s - self.read_s

    @property
    def alone_s(self) -> float:
        """For how long a replica that begins waits for a Redis that is away: in this time it would have its slots."""
        return self.lease_s + self.grace_s


class LocalBudget:
    """Port Budget: `allowance` is this process' own share."""

    def __init__(self, allowance: Allowance, clock: Clock, rng: random.Random) -> None:
        self._allowance, self._clock, self._rng = allowance, clock, rng
        self._granted: deque[float] = deque(maxlen=64)
        self._minutes: dict[int, int] = {}
        self._cap, self._refused, self._pause, self._backoff_s = allowance.per_second, 0.0, 0.0, 0.0
        self._asked = float("-inf")
        self._ahead_ms = 0

    @property
    def now_ms(self) -> int:
        """Redis' clock, as far as it is known."""
        return int(self._clock.now().timestamp() * 1_000) + self._ahead_ms

    def set_clock(self, redis_ms: int) -> None:
        """Reads are put in order by Redis' clock; they go on by it."""
        self._ahead_ms += redis_ms - self.now_ms

    async def take(self, urgency: Urgency) -> Grant:
        now, urgent = self._clock.monotonic(), urgency is Urgency.ASKED
        wait_s = self._wait_s(now, urgent=urgent)
        if urgent:
            self._asked = now
        if wait_s > 0:
            return Grant(self.now_ms, wait_s)
        self._granted.append(now)
        self.note_call()
        return Grant(self.now_ms, 0.0, now + LATE_S)

    def note_call(self) -> None:
        """A call that this process makes now, whoever granted it, is one of its hour's."""
        minute = int(self._clock.monotonic() // 60)
        self._minutes[minute] = self._minutes.get(minute, 0) + 1

    def give_back(self) -> None:
        """The last leave was not used."""
        self._minutes[int(self._granted.pop() // 60)] -= 1

    def _wait_s(self, now: float, *, urgent: bool) -> float:
        allowance, cap = self._allowance, self._cap_at(now)
        reserve = min(allowance.reserve, allowance.per_second // 5)
        lent = urgent or now - self._asked >= _ASKED_LATELY_S
        may = cap if lent else cap - reserve * cap // allowance.per_second
        wait_s = max(0.0, self._pause - now)
        # Leave may be used late: what is made then keeps to MAX's limit, too.
        for most, window_s in ((may, 1.0), (allowance.late(may), 1.0 + LATE_S)):
            if len(self._granted) >= most:
                # A millisecond more: the second is exact on other clocks, too.
                wait_s = max(wait_s, self._granted[-most] + window_s + 0.001 - now)
        minute = int(now // 60)
        self._minutes = {at: spent for at, spent in self._minutes.items() if at >= minute - 60}
        if sum(self._minutes.values()) >= max(1, allowance.per_hour * may // cap):
            wait_s = max(wait_s, (minute + 1) * 60 - now)
        return wait_s

    def _cap_at(self, now: float) -> int:
        raised = max(0, int((now - max(self._refused, self._pause)) // 5))
        return min(self._allowance.per_second, self._cap + raised)

    async def refused(self, retry_after_s: float | None) -> None:
        now = self._clock.monotonic()
        if self._backoff_s == 0 or now - self._refused > 1:
            self._cap = max(1, self._cap_at(now) // 2)
            calm = now - max(self._refused, self._pause) > 5
            self._backoff_s = 1.0 if calm else min(60.0, max(1.0, self._backoff_s * 2))
        told_s = retry_after_s if retry_after_s is not None and retry_after_s > 0 else 0.0
        pause_s = min(told_s, LONGEST_PAUSE_S) or self._backoff_s * self._rng.uniform(1.0, 1.25)
        self._refused, self._pause = now, max(self._pause, now + pause_s)


class LocalSlots:
    """Port Slots: keeps what was held last. Without Redis nobody takes anything either, but for a replica that has not
    seen it since it began: that takes all after a while, for nobody may be there who holds them. `known`: the epoch of
    each slot's newest count; under a greater one, what its holder reads meanwhile would be refused as older."""

    def __init__(
        self, rules: LeaseRules, clock: Clock, known: Callable[[], Mapping[int, int]] = lambda: NONE_KNOWN
    ) -> None:
        self._rules, self._clock, self._known = rules, clock, known
        self._slots: Mapping[int, int] = {}
        self._waits, self._since = True, math.inf

    def learn(self, held: Held) -> None:
        """What Redis said."""
        self._slots, self._waits = held.slots, False

    async def keep(self) -> Held:
        now, taken = self._clock.monotonic(), frozenset[int]()
        self._since = min(self._since, now)
        if self._waits and now - self._since >= self._rules.alone_s:
            self._slots, self._waits = {**dict.fromkeys(range(SLOTS), 1), **self._known()}, False
            taken = frozenset(self._slots)
        return Held(self._slots, taken, now + self._rules.usable_s)

    async def leave(self) -> None:
        self._slots, self._waits = {}, False


class LocalWanted:
    """Port Wanted. `reading`: what this process reads now; shared with the one on Redis."""

    def __init__(self, clock: Clock, reading: set[ChatId], debounce: Debounce) -> None:
        self._clock, self._reading, self._debounce = clock, reading, debounce
        self._due: dict[Urgency, dict[ChatId, float]] = {Urgency.ASKED: {}, Urgency.CHANGED: {}}
        self._claimed: dict[ChatId, set[Urgency]] = {}

    def claimed(self, claim: Claim) -> bool:
        """Whether it was claimed here."""
        return claim.chat in self._claimed

    def take_all(self) -> dict[Urgency, dict[ChatId, float]]:
        """What is wanted and when it is due, handed over to who does it from now on."""
        all_of_it = {urgency: due for urgency, due in self._due.items() if due}
        self._due = {Urgency.ASKED: {}, Urgency.CHANGED: {}}
        return all_of_it

    def put_back(self, left: Mapping[Urgency, Mapping[ChatId, float]]) -> None:
        """What was taken and nobody else does: due when it was."""
        for urgency, due in left.items():
            for chat, at in due.items():
                self._due[urgency][chat] = min(at, self._due[urgency].get(chat, at))

    async def ask(self, chats: Collection[ChatId], urgency: Urgency) -> None:
        now = self._clock.monotonic()
        for chat in chats:
            if urgency is Urgency.ASKED:
                first = now if chat in self._reading else self._due[Urgency.ASKED].get(chat, now)
                self._due[Urgency.ASKED][chat] = min(now, first)
            else:
                self._due[Urgency.CHANGED].setdefault(chat, now + self._debounce.wait_ms / 1_000)

    async def claim(
        self, held: Mapping[int, int], planned: Mapping[ChatId, Urgency], most: int, *, of: Of = Of.ALL
    ) -> list[Claim]:
        now, claims = self._clock.monotonic(), list[Claim]()
        due = [
            (urgency, chat, now - at)
            for urgency, chats in self._due.items()
            for chat, at in sorted(chats.items(), key=lambda one: one[1])
            if at <= now and (of is Of.ALL or (of is Of.ASKED) == (urgency is Urgency.ASKED))
        ]
        for urgency, chat, waited_s in [*due, *((urgency, chat, 0.0) for chat, urgency in planned.items())]:
            slot = slot_of(chat)
            if len(claims) < most and slot in held and chat not in self._reading:
                self._reading.add(chat)
                self._claimed[chat] = {kind for kind, chats in self._due.items() if chats.pop(chat, None) is not None}
                claims.append(Claim(chat, urgency, held[slot], waited_s))
        return claims

    async def finish(
        self, claims: Collection[Claim], again: Mapping[ChatId, float] = NONE_AGAIN, took_s: float = 0.0
    ) -> None:
        now = self._clock.monotonic()
        for claim in claims:
            chat = claim.chat
            self._reading.discard(chat)
            why = self._claimed.pop(chat, {claim.urgency})
            if chat not in again:
                if self._due[Urgency.ASKED].get(chat, now) <= now - took_s + NEW_ENOUGH_S:
                    self._due[Urgency.ASKED].pop(chat, None)
                continue
            if Urgency.ASKED in why and again[chat] <= PATIENCE_S:
                self._due[Urgency.ASKED].setdefault(chat, now + again[chat])
            if Urgency.CHANGED in why:
                self._due[Urgency.CHANGED].setdefault(chat, now + max(again[chat], self._debounce.wait_ms / 1_000))

    async def take_over(self, held: Mapping[int, int]) -> None:
        """Nothing: nobody takes slots while Redis is away."""
