"""What is to happen later, on a clock that may be sped up and moved forward."""

import asyncio
import heapq
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from chatferry.simulators.clock import ScaledClock

Act = Callable[[], None]


class Timetable:
    """Acts run in the order of their moments, by `run`; one that raises ends it."""

    def __init__(self, clock: ScaledClock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Act]] = []
        self._numbers = count()
        self._changed = asyncio.Event()

    def after(self, seconds: float, act: Act) -> None:
        heapq.heappush(self._due, (self._clock() + seconds, next(self._numbers), act))
        self._changed.set()

    def wake(self) -> None:
        """To be called when the clock has another speed or another time."""
        self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._changed.clear()
            while self._due and self._due[0][0] <= self._clock():
                heapq.heappop(self._due)[2]()
            wait = max(0.0, self._due[0][0] - self._clock()) / self._clock.speed if self._due else None
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)
