"""Metrics, named exactly as the requirements name them (design §7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_MILLISECONDS = (10, 50, 100, 500, 1_000, 5_000, 30_000, 60_000, 300_000, 1_800_000, 7_200_000, 43_200_000)
_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60)


class _Outages(Collector):
    """`outage{part}`, from what health says at the moment of the question: the two cannot differ."""

    def __init__(self) -> None:
        self.parts: Callable[[], Mapping[str, bool]] = dict

    def collect(self) -> Iterable[GaugeMetricFamily]:
        shown = GaugeMetricFamily("outage", "1 while that part is away.", labels=("part",))
        for part, away in self.parts().items():
            shown.add_metric([part], float(away))
        yield shown


class Metrics:
    """One set of instruments per process, on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.extracted = self._counter(
            "records_extracted",
            "Records of the portal that were stored: new and changed ones, not those read again as they were.",
            "entity",
        )
        self.published = self._counter("records_published", "Records answered for by Kafka.", "entity")
        self.import_ok = self._counter("records_import_ok", "Records that the target has.", "entity")
        self.import_err = self._counter("records_import_err", "Records that ended as dead letters.", "entity")
        self.rejected = self._counter(
            "records_rejected", "Records of the portal that cannot be taken: dead letters of the extractor.", "entity"
        )
        self.skipped = self._counter("records_skipped", "Records that needed no import.", "entity", "reason")
        self.overtaken = self._counter(
            "target_overtakings", "Answers that took a record although an earlier one of its line is to come again."
        )
        self.retries = self._counter(
            "retry_attempts",
            "Attempts after the first one: commands asked of the portal again, records to be sent to the target again.",
            "entity",
        )
        self.sample_mismatch = self._counter("verify_sample_mismatch", "Sampled records that differ.", "entity")
        self.custom_fields = self._counter("custom_fields_created", "Custom fields created at the target.", "entity")
        told = "Length of a phase of a run, as the extractor drives it; entity is the run's family."
        self.duration = self._histogram("duration_ms", told, ("entity", "phase"), _MILLISECONDS)
        self.portal_commands = self._counter("portal_commands", "Commands in batches to the portal.", "outcome")
        self.portal_requests = self._counter("portal_requests", "Requests to the portal.", "outcome")
        told = "Length of calls to other parts."
        self.call_seconds = self._histogram("call_seconds", told, ("part", "call"), _SECONDS)
        self.parked = Gauge(
            "records_parked", "Records that wait for a parent or a retry.", ("entity",), registry=self.registry
        )
        self._outages = _Outages()
        self.registry.register(self._outages)

    @staticmethod
    def show_nothing(labels: Iterable[str], *counters: Counter) -> None:
        """Shown before the first: what appears at 40 has not risen, as far as Prometheus knows."""
        for label in labels:
            for counter in counters:
                counter.labels(label)

    def show_outages(self, parts: Callable[[], Mapping[str, bool]]) -> None:
        """`outage{part}` is what this says of each part: whether it is away now."""
        self._outages.parts = parts

    @contextmanager
    def timed(self, part: str, call: str) -> Iterator[None]:
        """Observe how long a call to another part took, failed ones too."""
        started = perf_counter()
        try:
            yield
        finally:
            self.call_seconds.labels(part, call).observe(perf_counter() - started)

    def _histogram(self, name: str, what: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(name, what, labels, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)
