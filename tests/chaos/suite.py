"""Every disturbance by its name. A further one adds a module with SHORT, LONG and `disturb`, and a line here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.chaos import (
    conservation,
    kill_anywhere,
    order_retries,
    outages,
    planted,
    poison,
    portal_faults,
    rebalance_storm,
    slow_target,
    terminations,
)
from tests.chaos.frame import Passed

S = TypeVar("S")
_SEED = 7
Disturb = Callable[[Path, int, bool], Passed]
"""Root, seed, and whether in the long form. Raises AssertionError with what broke."""


def _sized(work: Callable[[Path, int, S], Passed], short: S, full: S) -> Disturb:
    """The same code in two sizes: the short form is part of every test run, the long one proves the figures."""
    return lambda root, seed, long: work(root, seed, full if long else short)


SUITE: dict[str, Disturb] = {
    kill_anywhere.NAME: _sized(kill_anywhere.disturb, kill_anywhere.SHORT, kill_anywhere.LONG),
    outages.NAME: _sized(outages.disturb, outages.SHORT, outages.LONG),
    order_retries.NAME: _sized(order_retries.disturb, order_retries.SHORT, order_retries.LONG),
    portal_faults.NAME: _sized(portal_faults.disturb, portal_faults.SHORT, portal_faults.LONG),
    rebalance_storm.NAME: _sized(rebalance_storm.disturb, rebalance_storm.SHORT, rebalance_storm.LONG),
    planted.NAME: _sized(planted.disturb, planted.SHORT, planted.LONG),
    slow_target.NAME: _sized(slow_target.disturb, slow_target.SHORT, slow_target.LONG),
    conservation.NAME: _sized(conservation.disturb, conservation.SHORT, conservation.LONG),
    poison.NAME: _sized(poison.disturb, poison.SHORT, poison.LONG),
    terminations.NAME: _sized(terminations.disturb, terminations.SHORT, terminations.LONG),
}
OWN_STACK = frozenset({kill_anywhere.NAME, outages.NAME, planted.NAME})
"""These end Kafka, MongoDB or Redis, or look into their files; the others may share them."""


def short(name: str, root: Path) -> None:
    """A disturbance in its short form; its figures go to standard output."""
    sys.stdout.write(f"{SUITE[name](root, _SEED, False).line()}\n")
