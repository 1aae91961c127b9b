"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable

from chatferry.stack.errors import GivenUpError

POLL_S = 0.05


class Deadline:
    """An instant on a monotonic clock, and the right to be cancelled before it."""

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.seconds = seconds
        self._clock = clock
        self._pause = pause
        self._cancelled = cancelled
        self._end = clock() + seconds

    def left_s(self) -> float:
        return max(0.0, self._end - self._clock())

    def wait_a_moment(self) -> bool:
        """Pause one poll interval; False when the time is up. Raises GivenUpError when cancelled."""
        if self._cancelled():
            raise GivenUpError("The start was given up.")
        if self.left_s() <= 0:
            return False
        self._pause(min(POLL_S, self.left_s()))
        return True
