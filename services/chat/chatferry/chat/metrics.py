"""What an operator of the target sees of it on /metrics."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15, 60)


class ChatMetrics:
    """The target's own instruments, on the process' registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._items = Counter(
            "target_items", "Items of batches, by what became of them.", ("entity", "status"), registry=registry
        )
        self._calls = Histogram(
            "target_call_seconds", "Length of calls that were let in.", ("method",), buckets=_SECONDS, registry=registry
        )

    def count(self, entity: str, statuses: Iterable[str]) -> None:
        """Count one batch."""
        for status, number in Tally(statuses).items():
            self._items.labels(entity, status).inc(number)

    @contextmanager
    def timed(self, method: str) -> Iterator[None]:
        """Observe how long a call took, failed ones too."""
        started = perf_counter()
        try:
            yield
        finally:
            self._calls.labels(method).observe(perf_counter() - started)
