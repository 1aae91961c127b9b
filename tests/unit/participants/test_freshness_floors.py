"""The floors of the freshness bench can be missed, each by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.bench.participants_freshness import CALLS_A_SECOND, CASES, Case, Tally, missed

MANY_ON, MANY_OFF, FEW = CASES[:3]
SERVED = Tally(judged=1_000, right=980, right_or_young=1_000, seconds=600.0)
IN_TURN = replace(SERVED, right=966, calls=600 * CALLS_A_SECOND - 100, age_ms=1_000 * 205_000.0)


@pytest.mark.parametrize(
    ("case", "tally"),
    [
        (MANY_ON, replace(SERVED, calls=600 * 2)),
        (MANY_OFF, IN_TURN),
        (FEW, replace(SERVED, calls=25)),
    ],
)
def test_what_a_service_that_does_its_work_reaches_is_enough(case: Case, tally: Tally) -> None:
    assert missed(case, tally) == []


@pytest.mark.parametrize(
    ("case", "tally", "floor"),
    [
        (MANY_ON, replace(SERVED, calls=600 * 6), "at most 5 calls a second"),
        (MANY_ON, replace(SERVED, right_or_young=940), "right or younger than an hour"),
        (MANY_OFF, replace(IN_TURN, calls=600 * 6), "calls a second, 0.9 of those allowed"),
        (MANY_OFF, replace(IN_TURN, age_ms=1_000 * 230_000.0), "mean age 220 s"),
        (MANY_OFF, replace(IN_TURN, right=870), "the best that 30 calls a second allow"),
        (FEW, replace(SERVED, calls=27), "calls an hour"),
    ],
)
def test_each_floor_can_be_missed(case: Case, tally: Tally, floor: str) -> None:
    [words] = missed(case, tally)
    assert floor in words
