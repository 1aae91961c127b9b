"""In this process alone: the counts, and who waits for a read. Used while Redis is away, and by tests."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from chatferry.common.clock import Clock
from chatferry.participants.domain.counts import ChatId, Count, frozen, hinted, replaces
from chatferry.participants.domain.updates import MOVING, Effect, Update

_STATE_S = 7 * 86_400.0
_HINT_S = 9 * 3_600.0
K = TypeVar("K")
V = TypeVar("V")


class _Bounded(OrderedDict[K, V]):
    """Forgets what was put in first once there are too many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: K, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)


class LocalCounts:
    """Port Counts."""

    def __init__(self, clock: Clock, most: int = 50_000) -> None:
        self._clock = clock
        self._counts: _Bounded[ChatId, tuple[Count, float]] = _Bounded(most)
        self._hints: _Bounded[tuple[ChatId, str], float] = _Bounded(most)

    def learn(self, counts: Mapping[ChatId, Count]) -> None:
        """What Redis knows, unless what is known here comes from a later read, or from events since."""
        ends = self._clock.monotonic() + _STATE_S
        for chat, count in counts.items():
            known = self._counts.get(chat)
            if known is None or known[0].order <= count.order:
                self._counts.put(chat, (count, ends))

    def known(self) -> list[tuple[ChatId, Count]]:
        """All of it."""
        return [(chat, count) for chat, (count, _) in self._counts.items()]

    async def load(self, chats: Sequence[ChatId]) -> dict[ChatId, Count]:
        now = self._clock.monotonic()
        found = ((chat, self._counts.get(chat)) for chat in chats)
        return {chat: kept[0] for chat, kept in found if kept is not None and kept[1] > now}

    async def write(self, chat: ChatId, count: Count) -> bool:
        known = (await self.load([chat])).get(chat)
        if not replaces(count, known):
            return False
        self._counts.put(chat, (count, self._clock.monotonic() + _STATE_S))
        return True

    async def hint(self, chat: ChatId, known: Count, update: Update) -> Count | None:
        if update.effect not in MOVING or self.heard(chat, update):
            return None
        here = (await self.load([chat])).get(chat)
        newest = here if here is not None and here.order >= known.order else known
        if update.effect is Effect.LEAVES:
            moved = frozen(newest, update.at_ms)
        else:
            moved = hinted(newest, update.delta, update.at_ms)
        if moved is not None:
            self.hear(chat, update)
            self._counts.put(chat, (moved, self._clock.monotonic() + _STATE_S))
        return moved

    def heard(self, chat: ChatId, update: Update) -> bool:
        """Whether this event has moved the count already."""
        return self._hints.get((chat, update.identity), 0.0) > self._clock.monotonic()

    def hear(self, chat: ChatId, update: Update) -> None:
        """It has, here or in Redis."""
        self._hints.put((chat, update.identity), self._clock.monotonic() + _HINT_S)

    async def forget(self, chats: Collection[ChatId]) -> None:
        for chat in chats:
            self._counts.pop(chat, None)


@dataclass(slots=True, eq=False)
class Waiter:
    """Somebody who waits. `ended`: chats of which a read did."""

    wanted: frozenset[ChatId]
    since_ms: int
    ended: set[ChatId] = field(default_factory=set)
    all_ended: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, reads: Iterable[tuple[ChatId, int]]) -> None:
        """Reads have ended."""
        self.ended.update(chat for chat, started_ms in reads if chat in self.wanted and started_ms >= self.since_ms)
        if len(self.ended) == len(self.wanted):
            self.all_ended.set()

    async def until(self, deadline: float) -> set[ChatId]:
        """Wait for all, at most until then on the loop's time."""
        try:
            async with asyncio.timeout_at(deadline):
                await self.all_ended.wait()
        except TimeoutError:
            pass
        return set(self.ended)


class LocalWaiting:
    """Port Waiting."""

    def __init__(self, most: int = 50_000) -> None:
        self._told: _Bounded[ChatId, int] = _Bounded(most)
        self._waiters: dict[ChatId, set[Waiter]] = {}

    @property
    def waited_for(self) -> list[ChatId]:
        """Chats that somebody waits for."""
        return list(self._waiters)

    @contextmanager
    def expecting(self, chats: Collection[ChatId], since_ms: int) -> Iterator[Waiter]:
        """Within it nothing that is told is missed."""
        waiter = Waiter(frozenset(chats), since_ms)
        waiter.hear((chat, self._told[chat]) for chat in waiter.wanted if chat in self._told)
        for chat in waiter.wanted:
            self._waiters.setdefault(chat, set()).add(waiter)
        try:
            yield waiter
        finally:
            for chat in waiter.wanted:
                self._waiters[chat].discard(waiter)
                if not self._waiters[chat]:
                    del self._waiters[chat]

    async def wait(self, chats: Collection[ChatId], since_ms: int, seconds: float) -> set[ChatId]:
        deadline = asyncio.get_running_loop().time() + seconds
        with self.expecting(chats, since_ms) as waiter:
            return await waiter.until(deadline)

    async def tell(self, reads: Mapping[ChatId, int]) -> None:
        for chat, started_ms in reads.items():
            self._told.put(chat, max(started_ms, self._told.get(chat, 0)))
            for waiter in self._waiters.get(chat, ()):
                waiter.hear([(chat, started_ms)])
