"""The two limits of a portal: requests per source, operating time per webhook and method."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from chatferry.simulators.bitrix24.settings import RateBucket
from chatferry.simulators.clock import Clock

FREE_CALL_S = 0.1
"""Calls of this length or less add nothing to the operating time."""
WINDOW_S = 600
SLOT_S = 60


class LeakyBuckets:
    """One bucket per source address; a request that would pass the capacity is refused and adds nothing."""

    def __init__(self, bucket: RateBucket | None, clock: Clock) -> None:
        self.bucket = bucket
        self._clock = clock
        self._levels: dict[str, tuple[float, float]] = {}

    def admit(self, source: str) -> bool:
        if self.bucket is None:
            return True
        level = self.level(source)
        if level + 1 > self.bucket.capacity:
            return False
        self._levels[source] = (level + 1, self._clock())
        return True

    def level(self, source: str) -> float:
        level, at = self._levels.get(source, (0.0, 0.0))
        drain = self.bucket.drain_per_s if self.bucket else 0.0
        return max(0.0, level - (self._clock() - at) * drain)


@dataclass(slots=True)
class _Slot:
    minute: int
    first_at: float
    spent_s: float


class OperatingTime:
    """Ten one-minute slots per webhook and method; a slot is forgotten ten minutes after its first call."""

    def __init__(self, limit_s: float | None, costs: Mapping[str, float], clock: Clock) -> None:
        self.limit_s = limit_s
        self.costs = dict(costs)
        self._clock = clock
        self._slots: dict[tuple[str, str], deque[_Slot]] = {}

    def blocked(self, webhook: str, method: str) -> bool:
        return self.limit_s is not None and self.spent(webhook, method)[0] >= self.limit_s

    def add(self, webhook: str, method: str, took_s: float) -> None:
        cost = self._cost(method, took_s)
        if cost <= FREE_CALL_S:
            return
        now = self._clock()
        slots = self._slots.setdefault((webhook, method), deque())
        if slots and slots[-1].minute == int(now // SLOT_S):
            slots[-1].spent_s += cost
        else:
            slots.append(_Slot(int(now // SLOT_S), now, cost))

    def spent(self, webhook: str, method: str) -> tuple[float, int | None]:
        """Seconds in the window, and when its oldest slot is forgotten (None: nothing is recorded)."""
        slots = self._slots.get((webhook, method))
        if not slots:
            return 0, None
        now = self._clock()
        while slots and slots[0].first_at + WINDOW_S <= now:
            slots.popleft()
        if not slots:
            return 0, None
        return sum(slot.spent_s for slot in slots), int(slots[0].first_at + WINDOW_S)

    def _cost(self, method: str, took_s: float) -> float:
        for pattern, cost in self.costs.items():
            if fnmatchcase(method, pattern):
                return cost
        return took_s
