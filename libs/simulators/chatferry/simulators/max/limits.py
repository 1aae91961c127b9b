"""Requests a second, counted exactly: no window of a second holds more admitted calls than the limit."""

from collections import deque
from collections.abc import Callable
from time import monotonic

WINDOW_S = 1.0


class SlidingWindow:
    """A refused call adds nothing. Real time: a limit does not run with the clock."""

    def __init__(self, steady: Callable[[], float] = monotonic) -> None:
        self._steady = steady
        self._admitted: deque[float] = deque()

    def admit(self, limit: int) -> float | None:
        """None: admitted, as with a limit of 0, which is none; otherwise the seconds until there is room."""
        now = self._steady()
        while self._admitted and now - self._admitted[0] >= WINDOW_S:
            self._admitted.popleft()
        if limit and len(self._admitted) >= limit:
            return WINDOW_S - (now - self._admitted[len(self._admitted) - limit])
        self._admitted.append(now)
        return None
