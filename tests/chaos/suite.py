"""Every disturbance by its name. A further one adds a module with SHORT, LONG and `disturb`, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tests.chaos import kill_anywhere
from tests.chaos.frame import Passed

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Disturbance(Generic[S]):
    """The same code in two sizes: the short form is part of every test run, the long one proves the figures."""

    work: Callable[[Path, int, S], Passed]
    short: S
    full: S

    def disturb(self, root: Path, seed: int, *, long: bool = False) -> Passed:
        """Raises AssertionError with what broke."""
        return self.work(root, seed, self.full if long else self.short)


SUITE = {
    kill_anywhere.NAME: Disturbance(kill_anywhere.disturb, kill_anywhere.SHORT, kill_anywhere.LONG),
}
