"""Events for GET /updates: kept for a day, committed by a marker."""

import asyncio
from collections import deque
from collections.abc import Set
from dataclasses import dataclass

from chatferry.simulators.clock import Clock
from chatferry.simulators.max.settings import Live
from chatferry.simulators.max.updates import Update

FIRST_MARKER = 25_493_970


@dataclass(frozen=True, slots=True)
class Page:
    updates: list[Update]
    marker: int
    """What to ask with next; passing it commits these."""


class Feed:
    def __init__(self, live: Live, clock: Clock) -> None:
        self._live = live
        self._clock = clock
        self._kept: deque[tuple[int, float, Update]] = deque()
        self._next = FIRST_MARKER
        self._arrived = asyncio.Event()
        self.expired = 0
        """Events that nobody fetched in time."""

    def append(self, update: Update) -> None:
        self._kept.append((self._next, self._clock(), update))
        self._next += 1
        self._arrived.set()
        self._arrived = asyncio.Event()

    def arrival(self) -> asyncio.Event:
        """Set at the next append; to be taken before a read that may find nothing."""
        return self._arrived

    def start(self, marker: int | None) -> int:
        """Where to read from; a marker commits all before it."""
        self._expire()
        if marker is not None:
            while self._kept and self._kept[0][0] < marker:
                self._kept.popleft()
            return min(marker, self._next)
        if self._kept and self._live.now.api.no_marker == "latest":
            return self._kept[-1][0]
        return self._kept[0][0] if self._kept else self._next

    def read(self, start: int, limit: int, types: Set[str]) -> Page:
        """Updates of these types (none: all) from there on."""
        found: list[Update] = []
        marker = start
        for number, _, update in self._kept:
            if number < start:
                continue
            if len(found) == limit:
                break
            marker = number + 1
            if not types or update["update_type"] in types:
                found.append(update)
        return Page(found, marker)

    def _expire(self) -> None:
        oldest = self._clock() - self._live.now.delivery.retention_s
        while self._kept and self._kept[0][1] < oldest:
            self._kept.popleft()
            self.expired += 1
