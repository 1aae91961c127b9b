"""What is to happen later, on a clock that may be sped up and moved forward."""

import asyncio
import heapq
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from chatferry.simulators.clock import ScaledClock

Act = Callable[[], None]
AT_ONCE = 100
"""Acts that run before others get their turn."""


class Timetable:
    """Acts run in the order of their moments, by `run`; one that raises ends it."""

    def __init__(self, clock: ScaledClock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Act]] = []
        self._numbers = count()
        self._changed = asyncio.Event()

    def now(self) -> float:
        return self._clock()

    def after(self, seconds: float, act: Act) -> None:
        self.at(self._clock() + seconds, act)

    def at(self, moment: float, act: Act) -> None:
        """As soon as it can be when the moment has passed already."""
        heapq.heappush(self._due, (moment, next(self._numbers), act))
        self._changed.set()

    def wake(self) -> None:
        """To be called when the clock has another speed or another time."""
        self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(0)
            self._changed.clear()
            for _ in range(AT_ONCE):
                if not self._due or self._due[0][0] > self._clock():
                    break
                heapq.heappop(self._due)[2]()
            wait = max(0.0, self._due[0][0] - self._clock()) / self._clock.speed if self._due else None
            # Not asyncio.wait_for, which may take its own cancellation for the end of the time.
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()
