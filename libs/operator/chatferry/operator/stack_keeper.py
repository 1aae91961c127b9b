"""Keeps the parts of a local stack running: what died is started again on its data, a little later each time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from chatferry.stack import LocalStack, StackError

_LOOK_S = 2.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0
_CALM_S = 30.0
_MOST_DEATHS = 6
_MOST_FAILED_STARTS = 3
_START_S = 60.0


@dataclass(slots=True)
class StackKeeper:
    """`failed`: the sentence with which it gave up. `pids`: those of the parts that run here, as last looked."""

    root: Path
    restarts: dict[str, int] = field(default_factory=dict)
    pids: dict[str, int | None] = field(default_factory=dict)
    failed: str | None = None
    _deaths: dict[str, int] = field(default_factory=dict)
    _dead: set[str] = field(default_factory=set)
    _failed_starts: int = 0
    _look_at: float = 0.0
    _start_at: float = 0.0
    _died_at: dict[str, float] = field(default_factory=dict)

    def look(self, now: float) -> None:
        """See who died, start them when it is time. `now`: monotonic seconds. Takes as long as the parts need."""
        if now < self._look_at or self.failed is not None:
            return
        self._look_at = now + _LOOK_S
        stack = LocalStack(self.root, announce=_quiet)
        new = set(stack.gone()) - self._dead
        for name in sorted(new):
            self._died(stack, name, now)
        if (self._dead or self._failed_starts) and now >= self._start_at and self.failed is None:
            self._start(stack, now)
        for calm in [one for one, at in self._died_at.items() if now - at > _CALM_S and one not in self._dead]:
            del self._deaths[calm], self._died_at[calm]
        self.pids = {str(name): pid for name, pid in stack.pids().items()}

    def end(self) -> None:
        """Stop the parts; data stay."""
        LocalStack(self.root, announce=_quiet).down()

    def _died(self, stack: LocalStack, name: str, now: float) -> None:
        self._dead.add(name)
        self._deaths[name] = self._deaths.get(name, 0) + 1
        again = self._deaths[name] - 1
        self._died_at[name] = now
        self._start_at = now + (_pause_s(again) if again else 0.0)
        if self._deaths[name] >= _MOST_DEATHS:
            why = next((part.detail for part in stack.status() if part.name == name), "it has died")
            self.failed = f"{name} cannot be kept running: {why}"

    def _start(self, stack: LocalStack, now: float) -> None:
        try:
            stack.up(timeout_s=_START_S)
        except StackError as failure:
            self._failed_starts += 1
            self._start_at = now + _pause_s(self._failed_starts)
            if self._failed_starts >= _MOST_FAILED_STARTS:
                self.failed = str(failure)
            return
        for name in self._dead:
            self.restarts[name] = self.restarts.get(name, 0) + 1
        self._dead.clear()
        self._failed_starts = 0


def _pause_s(times: int) -> float:
    return min(_FIRST_WAIT_S * 2.0**times, _LONGEST_WAIT_S)


def _quiet(_: str) -> None:
    return
