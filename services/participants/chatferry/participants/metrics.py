"""What on-call and operators see of the participants service on /metrics (names: requirement 004)."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from chatferry.common.clock import Clock
from chatferry.common.health import Health
from chatferry.common.telemetry.metrics import Metrics
from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import State, state_of
from chatferry.participants.ports import Why

_HIT_SPAN_S, _CALL_SPAN_S = 300.0, 3_600.0
_SLICES = 60
_UPDATE_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 45, 60, 120, 300, 900)
_AGE_S = (1, 5, 15, 30, 60, 120, 300, 600, 900, 1_800, 2_700, 3_600, 7_200, 21_600, 43_200, 86_400, 172_800)
_LAG_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 150, 600, 3_600, 28_800)
_CALL_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30)
_CALLS = ("chat", "lost", "membership", "subscription", "updates")
_FAILURES = (
    *("connection", "certificate", "timeout", "server", "status", "body", "busy", "refused"),
    *("denied", "not_found"),
)
_AT_ONCE = 500
_LOOK_EVERY_S = 10.0


@dataclass(slots=True)
class _Lately:
    """Sums over the last `span_s`, forgotten a sixtieth at a time."""

    span_s: float
    clock: Clock
    _slices: deque[list[float]] = field(default_factory=deque)

    def add(self, one: float, other: float = 0) -> None:
        number = self.clock.monotonic() // (self.span_s / _SLICES)
        if not self._slices or self._slices[-1][0] != number:
            self._forget()
            self._slices.append([number, 0, 0])
        newest = self._slices[-1]
        newest[1] += one
        newest[2] += other

    def sums(self) -> tuple[float, float]:
        self._forget()
        return sum(one[1] for one in self._slices), sum(one[2] for one in self._slices)

    def _forget(self) -> None:
        oldest = self.clock.monotonic() // (self.span_s / _SLICES) - _SLICES
        while self._slices and self._slices[0][0] <= oldest:
            self._slices.popleft()


class _Ages(Collector):
    """A histogram that takes a page at a time: fifty calls of the library's would cost more than the page."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_AGE_S) + 1)
        self._sum = 0.0

    def observe(self, ages_s: Iterable[float]) -> None:
        for age_s in ages_s:
            self._counts[bisect_left(_AGE_S, age_s)] += 1
            self._sum += age_s

    def collect(self) -> Iterable[Metric]:
        bounds = [*map(floatToGoString, _AGE_S), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
        about = "Age of served counts that MAX has told."
        yield HistogramMetricFamily("participants_served_age_seconds", about, buckets=buckets, sum_value=self._sum)


class Watching:
    """The instruments, on the process' registry: what the story, the readers and MAX's adapter tell goes here."""

    def __init__(self, metrics: Metrics, clock: Clock, health: Health | None = None) -> None:
        registry = metrics.registry
        self._health = health
        self._hits = _Lately(_HIT_SPAN_S, clock)
        self._calls_lately = _Lately(_CALL_SPAN_S, clock)
        self._linked = 0

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        hit_rate = "Share of served counts of MAX's chats that the shared cache gave fresh, in the last 5 minutes."
        gauge("participants_cache_hit_rate", hit_rate).set_function(self.hit_rate)
        self._counts_served = counter("participants_counts_served", "Served counts of MAX's chats.", "cache")
        self._update = histogram(
            "participants_update_duration",
            "Seconds from due to written; of what is merely planned, but for the most active chats, from its turn.",
            _UPDATE_S,
        )
        # A gauge that only rises: the requirement's name, which a counter would have with _total behind it.
        self._errors = gauge("participants_max_api_errors", "Calls to MAX that failed, since the start.", "kind")
        self._stale = gauge("participants_stale_data_count", "Chats of MAX whose count is neither fresh nor frozen.")
        self._linked_chats = gauge("participants_linked_chats", "Chats that MAX can be asked about.")
        self._ages = _Ages()
        registry.register(self._ages)
        self._lag = histogram("participants_event_lag_seconds", "From an event to its showing in the count.", _LAG_S)
        self._calls = counter("participants_max_calls", "Calls to MAX.", "kind")
        calls_each = "Calls to MAX by this replica in the last hour, for each chat that it can be asked about."
        gauge("participants_max_calls_per_chat_hour", calls_each).set_function(self.calls_per_chat)
        self._reads = counter("participants_reads", "Counts read, by what they are to an audit of events.", "why")
        self._changes = counter("participants_changes", "Changes of counts, by what told of them first.", "by")
        self._events = counter("participants_webhook_events", "Events that MAX has sent.", "outcome")
        self._api = histogram("participants_api_seconds", "Length of calls of readers.", _CALL_S, "call", "status")
        self._show_nothing()

    def _show_nothing(self) -> None:
        """Shown before the first: what appears at 40 has not risen, as far as Prometheus knows."""
        shown = (
            (self._errors, _FAILURES),
            (self._calls, _CALLS),
            (self._reads, ("event", "audit", "other")),
            (self._changes, ("event", "correction", "audit", "other")),
        )
        for metric, labels in shown:
            for label in labels:
                metric.labels(label)

    def read(self, seconds: float, *, changed: bool, why: Why) -> None:
        """What an audit finds changed, events have missed."""
        self._update.observe(seconds)
        self._reads.labels(why).inc()
        if changed:
            self._changes.labels("correction" if why == "event" else why).inc()

    def called(self, kind: str) -> None:
        self._calls.labels(kind).inc()
        self._calls_lately.add(1)

    def failed(self, kind: str) -> None:
        """A call to MAX brought no answer, or one that is none."""
        self._errors.labels(kind).inc()

    def heard(self, lag_s: float) -> None:
        self._lag.observe(lag_s)
        self._changes.labels("event").inc()

    def max_away(self, sentence: str | None) -> None:
        self._away("max", sentence)

    def unsubscribed(self, sentence: str | None) -> None:
        """MAX sends no events, or does again (None)."""
        self._away("subscription", sentence)

    def _away(self, part: str, sentence: str | None) -> None:
        if self._health is not None:
            self._health.outage(part, sentence)

    def served(self, hits: int, misses: int, ages_s: Iterable[float]) -> None:
        self._hits.add(hits, misses)
        self._counts_served.labels("hit").inc(hits)
        self._counts_served.labels("miss").inc(misses)
        self._ages.observe(ages_s)

    def received(self, outcome: str) -> None:
        self._events.labels(outcome).inc()

    @contextmanager
    def timed(self, call: str) -> Iterator[list[int]]:
        """Observe how long a call took. The block puts the answer's status into the list."""
        status: list[int] = []
        began = perf_counter()
        try:
            yield status
        finally:
            self._api.labels(call, str(status[0] if status else 500)).observe(perf_counter() - began)

    def hit_rate(self) -> float:
        """Not a number when nothing was served: no reason to wake anybody."""
        hits, misses = self._hits.sums()
        return hits / (hits + misses) if hits + misses else math.nan

    def calls_per_chat(self) -> float:
        """Not a number when there is no chat to ask about."""
        return self._calls_lately.sums()[0] / self._linked if self._linked else math.nan

    async def look(self, entries: Iterable[Entry], now_ms: int, fresh_ms: int) -> None:
        """Count the linked chats and the stale ones; others have their turns meanwhile."""
        linked = stale = 0
        for number, entry in enumerate(list(entries)):
            if entry.max_chat is not None:
                linked += 1
                stale += state_of(entry.count, now_ms, fresh_ms) not in (State.FRESH, State.FROZEN)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        self._linked = linked
        self._linked_chats.set(linked)
        self._stale.set(stale)


async def keep_looking(
    watching: Watching, entries: Callable[[], Iterable[Entry]], clock: Clock, fresh_ms: int, stopping: asyncio.Event
) -> None:
    """Look at all chats every ten seconds, until `stopping` is set."""
    while not stopping.is_set():
        await watching.look(entries(), int(clock.now().timestamp() * 1_000), fresh_ms)
        await clock.sleep(_LOOK_EVERY_S)
