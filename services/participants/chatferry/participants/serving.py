"""What is served: pages and counts as they are known best, at once; older ones are asked for, and awaited on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from chatferry.common.clock import Clock
from chatferry.common.errors import OutageError
from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import ChatId, Count, MaxChatId, State, state_of
from chatferry.participants.domain.pages import Place, Query
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.flow.linking import begin_anew, make_known
from chatferry.participants.ports import NEW_ENOUGH_S, Counts, MaxSide, Waiting, Wanted
from chatferry.participants.view import View
from chatferry.participants.wishes import Wishes

_LOAD_S = 0.2
# Of a reader's time, what is kept for the answer once nobody is waited for any more: so much at most, and this share.
_KEPT_S, _KEPT = 0.3, 0.25


_SHOULD_BE_FRESH = (State.FRESH, State.STALE, State.STATIC)


class Audience(Protocol):
    """What is told of each answer (`metrics.Watching`)."""

    def served(self, hits: int, misses: int, ages_s: Iterable[float]) -> None:
        """Counts of chats that MAX has: those that the shared cache gave fresh, and those that it should have; and how
        old those were that MAX has ever told."""


@dataclass(frozen=True, slots=True)
class Rules:
    """`fresh_ms`: how old a fresh count is at most. `fresh_wait_s`: within which whoever waits for one is answered.
    `wishes_per_second`: reads that this replica's readers bring about
    without waiting for them."""

    fresh_ms: int
    fresh_wait_s: float
    wishes_per_second: float = 6.0


@dataclass(frozen=True, slots=True)
class Served:
    """One chat with its count as it is known best. `cached`: the shared cache gave it, and its time there is not over.
    `missed`: that cache should have given it fresh; nothing can make fresh what is frozen, denied or on its way."""

    entry: Entry
    count: Count
    state: State
    cached: bool
    missed: bool


@dataclass(frozen=True, slots=True)
class ServedPage:
    """`cached`: whether every count came from the shared cache."""

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
    """Where counts are, and who brings newer ones. `now_ms`: the clock that reads are stamped by (None: our own).
    `shared`: whether what `counts` has just given came from the cache of all replicas, not from this process."""

    counts: Counts
    wanted: Wanted
    waiting: Waiting
    now_ms: Callable[[], int] | None = None
    shared: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class _Time:
    """A call's, on the loop's seconds: until when it waits for reads, for whoever brings them, and for the cache."""

    waiting: float
    asking: float
    loading: float

    @classmethod
    def within(cls, seconds: float) -> _Time:
        """From now on; the answer leaves before they are over."""
        ends, kept = asyncio.get_running_loop().time() + seconds, min(_KEPT_S, seconds * _KEPT)
        return cls(ends - kept, ends - kept * 2 / 3, ends - kept / 6)


class Serving:
    """Answers readers. Nothing that it needs of the outside may keep one waiting: what is away is done without."""

    def __init__(self, view: View, sources: Sources, clock: Clock, rules: Rules, audience: Audience) -> None:
        self.view = view
        self._sources = sources
        self._clock = clock
        self._rules = rules
        self._audience = audience
        self._wishes = Wishes(sources.wanted, clock, rules.wishes_per_second, self._still_overdue)

    async def page(self, query: Query, after: Place | None, limit: int, *, fresh: bool) -> ServedPage:
        """One page; `fresh`: after the wait for counts that are read now."""
        time = _Time.within(self._rules.fresh_wait_s)
        page = self.view.page(query, after, limit)
        served, _ = await self._serve(page.entries, time, fresh=fresh)
        return ServedPage(served, page.end, page.total)

    async def counts(self, chats: Collection[ChatId], deadline_s: float | None, *, fresh: bool) -> ServedCounts:
        """These chats' counts, each once, by the deadline; never later than a reader waits anyway."""
        longest_s = self._rules.fresh_wait_s
        time = _Time.within(longest_s if deadline_s is None else min(longest_s, deadline_s))
        asked = dict.fromkeys(chats)
        entries = [entry for chat in asked if (entry := self.view.entry(chat)) is not None]
        served, late = await self._serve(entries, time, fresh=fresh)
        unknown = [chat for chat in asked if self.view.entry(chat) is None]
        return ServedCounts(served, unknown, [one.entry.id for one in served if one.entry.id in late])

    async def renew(self, chats: Collection[ChatId]) -> None:
        """These are other chats of MAX now: their counts are forgotten, and asked for."""
        await begin_anew(chats, self._sources.counts, self._sources.wanted)

    async def make_known(self, max_chat: MaxChatId, catalogue: MaxSide) -> ChatId | None:
        """See `linking.make_known`."""
        return await make_known(max_chat, catalogue, self._sources.wanted)

    async def _serve(self, entries: Sequence[Entry], time: _Time, *, fresh: bool) -> tuple[list[Served], set[ChatId]]:
        served, late = await self._known(entries, time), set[ChatId]()
        if fresh:
            late = await self._refreshed(served, time)
            served = await self._known([self.view.entry(one.entry.id) or one.entry for one in served], time)
        self._wishes.wish(one.entry.id for one in served if _overdue(one))
        self._tell(served)
        return served, late

    async def _still_overdue(self, chats: Sequence[ChatId]) -> list[ChatId]:
        entries = [entry for chat in chats if (entry := self.view.entry(chat)) is not None]
        served = await self._known(entries, _Time.within(self._rules.fresh_wait_s))
        return [one.entry.id for one in served if _overdue(one)]

    async def _known(self, entries: Sequence[Entry], time: _Time) -> list[Served]:
        """Cached counts in one round trip; the catalogue's where there is none, or an older one."""
        linked = [entry.id for entry in entries if entry.max_chat is not None]
        cached: dict[ChatId, Count] = {}
        shared = False
        if linked:
            try:
                async with asyncio.timeout_at(min(time.loading, asyncio.get_running_loop().time() + _LOAD_S)):
                    cached = await self._sources.counts.load(linked)
                shared = self._sources.shared()
            except (OutageError, TimeoutError):
                cached = {}
        now_ms = self._now_ms()
        return [self._best(entry, cached.get(entry.id), now_ms, shared=shared) for entry in entries]

    def _best(self, entry: Entry, cached: Count | None, now_ms: int, *, shared: bool) -> Served:
        best = entry.count
        if cached is not None and (cached.order > best.order or (shared and cached.order == best.order)):
            best = cached
        state = state_of(best, now_ms, self._rules.fresh_ms)
        # The cache tells too what it knew until its time was over.
        young = now_ms - best.stamp.started_ms <= self._rules.fresh_ms
        there = shared and best is cached and young
        missed = not there and (not shared or state in _SHOULD_BE_FRESH)
        return Served(entry, best, state, cached=there, missed=missed)

    async def _refreshed(self, served: Sequence[Served], time: _Time) -> set[ChatId]:
        """Ask for what is older than a second, and wait; those that did not come in time."""
        now_ms = self._sources.now_ms() if self._sources.now_ms is not None else self._now_ms()
        since_ms = now_ms - int(NEW_ENOUGH_S * 1_000)
        wanted = {
            one.entry.id for one in served if one.entry.max_chat is not None and one.count.stamp.started_ms < since_ms
        }
        if not wanted:
            return wanted
        try:
            async with asyncio.timeout_at(time.asking):
                await self._sources.wanted.ask(wanted, Urgency.ASKED)
                left_s = max(0.0, time.waiting - asyncio.get_running_loop().time())
                return wanted - await self._sources.waiting.wait(wanted, since_ms, left_s)
        except (OutageError, TimeoutError):
            return wanted

    def _tell(self, served: Sequence[Served]) -> None:
        hits, misses, now_ms = 0, 0, self._now_ms()
        ages_s: list[float] = []
        for one in served:
            if one.entry.max_chat is None:
                continue
            hits += one.cached and one.state is State.FRESH
            misses += one.missed
            if (told_ms := one.count.updated_at_ms) is not None:
                ages_s.append(max(0, now_ms - told_ms) / 1_000)
        self._audience.served(hits, misses, ages_s)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1_000)


def _overdue(one: Served) -> bool:
    """Whether a reader's coming is reason enough to read it anew; of what is provisional a read is under way."""
    return one.entry.max_chat is not None and one.state in (State.STALE, State.STATIC)
