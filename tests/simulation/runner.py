"""Many schedules, one after the other, and what to look at when one of them breaks a promise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import structlog
from tests.simulation.plan import Plan, plan_of
from tests.simulation.stores import BrokenPromiseError
from tests.simulation.world import Figures, World

from chatferry.common.telemetry.metrics import Metrics

_CRITICAL = 50


class BrokenScheduleError(AssertionError):
    """A schedule broke a promise. The text has its seed, its plan and its trace."""

    def __init__(self, plan: Plan, broken: str, trace: list[str]) -> None:
        lines = [
            *trace,
            "",
            f"BROKEN: {broken}",
            f"seed {plan.seed}: .venv/bin/python -m tests.simulation --seed {plan.seed} --only",
            repr(plan),
        ]
        super().__init__("\n".join(lines))
        self.broken = broken


@contextmanager
def quiet() -> Iterator[None]:
    """No line of the log: the outages of thousands of schedules are meant."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def run_plans(plans: Iterable[Plan], metrics: Metrics | None = None) -> Figures:
    """Run them. Raises BrokenScheduleError for the first that breaks a promise."""
    figures, shared = Figures(), metrics or Metrics()
    with quiet():
        for plan in plans:
            world = World(plan, shared)
            try:
                world.run()
            except BrokenPromiseError as broken:
                raise BrokenScheduleError(plan, str(broken), trace_of(plan, shared)) from broken
            figures.add(world)
    return figures


def run_seeds(seeds: Iterable[int]) -> Figures:
    """The schedules of these seeds. Raises BrokenScheduleError."""
    return run_plans(plan_of(seed) for seed in seeds)


def trace_of(plan: Plan, metrics: Metrics | None = None) -> list[str]:
    """The same schedule once more, this time told line by line, up to where it breaks."""
    trace: list[str] = []
    with quiet():
        try:
            World(plan, metrics or Metrics(), trace).run()
        except BrokenPromiseError as broken:
            trace.append(f"BROKEN: {broken}")
    return trace
