"""What is served: pages and counts as they are known best, at once; older ones are asked for, and awaited on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from chatferry.common.clock import Clock
from chatferry.common.errors import OutageError
from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import ChatId, Count, State, state_of
from chatferry.participants.domain.pages import Place, Query
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.flow.linking import begin_anew
from chatferry.participants.ports import NEW_ENOUGH_S, Counts, Waiting, Wanted
from chatferry.participants.view import View
from chatferry.participants.wishes import Wishes

_LOAD_S = 0.2
# The answer of a wait that ends with its time must still arrive.
_GRACE_S = 0.1


class Audience(Protocol):
    """What is told of each answer (`metrics.Watching`)."""

    def served(self, hits: int, misses: int, ages_s: Iterable[float]) -> None:
        """Counts of chats that MAX has: from the cache and young enough, or not; and how old those were that MAX
        has ever told."""


@dataclass(frozen=True, slots=True)
class Rules:
    """`fresh_ms`: how old a fresh count is at most. `wishes_per_second`: reads that this replica's readers bring about
    without waiting for them."""

    fresh_ms: int
    fresh_wait_s: float
    wishes_per_second: float = 6.0


@dataclass(frozen=True, slots=True)
class Served:
    """One chat with its count as it is known best."""

    entry: Entry
    count: Count
    state: State
    cached: bool


@dataclass(frozen=True, slots=True)
class ServedPage:
    """`cached`: whether every count came from the cache."""

    chats: list[Served]
    end: Place | None
    total: int

    @property
    def cached(self) -> bool:
        return bool(self.chats) and all(one.cached for one in self.chats)


@dataclass(frozen=True, slots=True)
class ServedCounts:
    """`incomplete`: fresh ones were asked for, and did not come in time."""

    chats: list[Served]
    unknown: list[ChatId]
    incomplete: list[ChatId]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where counts are, and who brings newer ones. `now_ms`: the clock that reads are stamped by (None: our own)."""

    counts: Counts
    wanted: Wanted
    waiting: Waiting
    now_ms: Callable[[], int] | None = None


class Serving:
    """Answers readers. Nothing that it needs of the outside may keep one waiting: what is away is done without."""

    def __init__(self, view: View, sources: Sources, clock: Clock, rules: Rules, audience: Audience) -> None:
        self.view = view
        self._sources = sources
        self._clock = clock
        self._rules = rules
        self._audience = audience
        self._wishes = Wishes(sources.wanted, clock, rules.wishes_per_second)

    async def page(self, query: Query, after: Place | None, limit: int, *, fresh: bool) -> ServedPage:
        """One page; `fresh`: after the wait for counts that are read now."""
        page = self.view.page(query, after, limit)
        served, _ = await self._serve(page.entries, self._rules.fresh_wait_s if fresh else None)
        return ServedPage(served, page.end, page.total)

    async def counts(self, chats: Collection[ChatId], deadline_s: float | None, *, fresh: bool) -> ServedCounts:
        """These chats' counts, each once, by the deadline; never later than a reader waits anyway."""
        wait_s = min(self._rules.fresh_wait_s, self._rules.fresh_wait_s if deadline_s is None else deadline_s)
        asked = dict.fromkeys(chats)
        entries = [entry for chat in asked if (entry := self.view.entry(chat)) is not None]
        served, late = await self._serve(entries, wait_s if fresh else None)
        unknown = [chat for chat in asked if self.view.entry(chat) is None]
        return ServedCounts(served, unknown, [one.entry.id for one in served if one.entry.id in late])

    async def renew(self, chats: Collection[ChatId]) -> None:
        """These are other chats of MAX now: their counts are forgotten, and asked for."""
        await begin_anew(chats, self._sources.counts, self._sources.wanted)

    async def _serve(self, entries: Sequence[Entry], wait_s: float | None) -> tuple[list[Served], set[ChatId]]:
        served, late = await self._known(entries, wait_s), set[ChatId]()
        if wait_s is not None:
            late = await self._refreshed(served, wait_s)
            served = await self._known([self.view.entry(one.entry.id) or one.entry for one in served], wait_s)
        self._wishes.wish(one.entry.id for one in served if one.entry.max_chat is not None and _overdue(one.state))
        self._tell(served)
        return served, late

    async def _known(self, entries: Sequence[Entry], wait_s: float | None) -> list[Served]:
        """Cached counts in one round trip; the catalogue's where there is none, or an older one."""
        linked = [entry.id for entry in entries if entry.max_chat is not None]
        cached: dict[ChatId, Count] = {}
        if linked:
            try:
                async with asyncio.timeout(_LOAD_S if wait_s is None else min(_LOAD_S, wait_s)):
                    cached = await self._sources.counts.load(linked)
            except (OutageError, TimeoutError):
                cached = {}
        now_ms = self._now_ms()
        return [self._best(entry, cached.get(entry.id), now_ms) for entry in entries]

    def _best(self, entry: Entry, cached: Count | None, now_ms: int) -> Served:
        own = entry.count
        if cached is None or cached.order < own.order:
            return Served(entry, own, state_of(own, now_ms, self._rules.fresh_ms), cached=False)
        state = state_of(cached, now_ms, self._rules.fresh_ms)
        # The cache tells too what it knew until its time was over.
        return Served(entry, cached, state, cached=state is not State.STALE)

    async def _refreshed(self, served: Sequence[Served], wait_s: float) -> set[ChatId]:
        """Ask for what is older than a second, and wait; those that did not come in time."""
        now_ms = self._sources.now_ms() if self._sources.now_ms is not None else self._now_ms()
        since_ms = now_ms - int(NEW_ENOUGH_S * 1_000)
        wanted = {
            one.entry.id for one in served if one.entry.max_chat is not None and one.count.stamp.started_ms < since_ms
        }
        if not wanted:
            return wanted
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(wait_s + _GRACE_S):
                await self._sources.wanted.ask(wanted, Urgency.ASKED)
                left_s = max(0.0, wait_s - (self._clock.monotonic() - began))
                return wanted - await self._sources.waiting.wait(wanted, since_ms, left_s)
        except (OutageError, TimeoutError):
            return wanted

    def _tell(self, served: Sequence[Served]) -> None:
        hits, misses, now_ms = 0, 0, self._now_ms()
        ages_s: list[float] = []
        for one in served:
            if one.entry.max_chat is None:
                continue
            if one.cached:
                hits += 1
            else:
                misses += 1
            if (told_ms := one.count.updated_at_ms) is not None:
                ages_s.append(max(0, now_ms - told_ms) / 1_000)
        self._audience.served(hits, misses, ages_s)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1_000)


def _overdue(state: State) -> bool:
    """Whether a reader's coming is reason enough to read it anew; of what is provisional a read is under way."""
    return state is State.STALE or state is State.STATIC
