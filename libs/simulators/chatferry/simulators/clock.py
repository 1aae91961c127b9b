"""A simulated server's own time, which may run faster than the world's."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the epoch, in the simulated server's time."""


class ScaledClock:
    """Starts at the real time and passes `speed` simulated seconds per real one; the speed may change meanwhile."""

    def __init__(
        self, speed: float = 1.0, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._steady = steady
        self._speed = speed
        self._origin = wall()
        self._since = steady()

    def __call__(self) -> float:
        return self._origin + (self._steady() - self._since) * self._speed

    @property
    def speed(self) -> float:
        return self._speed

    def set_speed(self, speed: float) -> None:
        """The time goes on from where it is."""
        self._origin = self()
        self._since = self._steady()
        self._speed = speed

    def skip(self, seconds: float) -> None:
        """So much later at once."""
        self._origin += seconds
