"""The importers on a log in memory and a clock of their own: schedule after schedule, in which every promise holds.

The long form: `python -m tests.simulation --schedules 100000 --seed N`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.simulation.mutations import MUTATIONS, RARE, WITHIN, find
from tests.simulation.plan import CHATS, STEPS, Plan, Step, plan_of
from tests.simulation.runner import BrokenScheduleError, run_plans, run_seeds, trace_of
from tests.simulation.target import FOR_EVER, Error
from tests.simulation.wire import FAULTS, Fault

from chatferry.common.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
_METRICS = Metrics()


def test_every_promise_holds_in_schedules_that_are_always_the_same() -> None:
    figures = run_seeds(range(1_000))
    assert figures.schedules == 1_000
    # They are worth something only if much goes wrong in them.
    assert figures.faults > 1_200
    assert figures.rebalances > 2_000
    assert figures.dead > 500


def test_every_promise_holds_in_the_schedules_of_today() -> None:
    today = int(f"{datetime.now(UTC):%Y%m%d}") * 1_000
    run_seeds(range(today, today + 300))


_STEPS = st.builds(Step, st.sampled_from(STEPS), st.integers(1, CHATS), st.integers(0, 9))
_FAULTS = st.builds(Fault, st.integers(1, 200), st.sampled_from(FAULTS), st.sampled_from((0.5, 4.0, 9.0, 30.0)))
_ERRORS = st.tuples(
    st.tuples(st.integers(1, CHATS), st.integers(0, 4)),
    st.builds(Error, st.sampled_from(("retry", "refuse", "poison", "reject")), st.sampled_from((1, 2, 3, 4, FOR_EVER))),
)
_PLANS = st.builds(
    Plan,
    seed=st.integers(0, 2**32),
    steps=st.lists(_STEPS, max_size=12).map(lambda steps: (Step("chat", 1), *steps)),
    faults=st.lists(_FAULTS, max_size=5, unique_by=lambda fault: fault.at).map(tuple),
    errors=st.lists(_ERRORS, max_size=2).map(tuple),
    importers=st.integers(1, 2),
    may_pass_dead=st.booleans(),
    holds=st.booleans(),
    replayed=st.booleans(),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_PLANS)
def test_every_promise_holds_in_whatever_plan(plan: Plan) -> None:
    run_plans([plan], _METRICS)


@pytest.mark.parametrize("name", [name for name in MUTATIONS if name not in RARE])
def test_a_bug_is_found(name: str) -> None:
    assert find(name, WITHIN) is not None


def test_what_is_found_can_be_read_and_played_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatferry.common.streaming.progress.Progress.committable", lambda self: dict(self._next))
    with pytest.raises(BrokenScheduleError) as broken:
        run_seeds(range(50))
    told = str(broken.value)
    assert "is committed and neither done, parked nor dead" in told
    assert "--only" in told
    seed = int(told.partition("--seed ")[2].split()[0])
    assert trace_of(plan_of(seed))[-1] == f"BROKEN: {broken.value.broken}"


def _digest(seeds: range) -> str:
    return hashlib.sha256("\n".join(line for seed in seeds for line in trace_of(plan_of(seed))).encode()).hexdigest()


def test_a_seed_is_the_same_schedule_in_every_process() -> None:
    code = "from tests.simulation.test_simulation import _digest\nprint(_digest(range(40)))"
    env = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == _digest(range(40))
