"""The Meter port on the process's metrics."""

from __future__ import annotations

from chatferry.common.entities import FAMILIES
from chatferry.common.telemetry.metrics import Metrics


class PrometheusMeter:
    """`verify_sample_mismatch_total{entity}`; `entity` is the run's family."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        metrics.show_nothing(FAMILIES, metrics.sample_mismatch)

    def sample_mismatches(self, family: str, count: int) -> None:
        self._metrics.sample_mismatch.labels(family).inc(count)
