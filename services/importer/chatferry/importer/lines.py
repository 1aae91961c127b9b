"""Lines that wait: which records must not be sent yet because an earlier one of their line waits in `parked`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice

from chatferry.importer.domain.records import Line


class Lines:
    """Holds one small entry per waiting line, so memory follows what waits, not what passes.

    A line waits for a moment (a retry) or at the gate (for its parent). Times are seconds since the epoch.
    `longest_s`: nothing is ever told to wait longer.
    """

    __slots__ = ("_gated", "_longest_s", "_timed")

    def __init__(self, longest_s: float = float("inf")) -> None:
        self._longest_s = longest_s
        self._timed: dict[Line, float] = {}
        self._gated: dict[Line, None] = {}

    def __contains__(self, line: Line) -> bool:
        return line in self._timed or line in self._gated

    def has_moment(self, line: Line) -> bool:
        """Whether the line waits for a retry, rather than at the gate."""
        return line in self._timed

    def __len__(self) -> int:
        return len(self._timed) + len(self._gated)

    def wait_until(self, line: Line, moment: float) -> None:
        """Nothing of this line may be sent before `moment`."""
        self._gated.pop(line, None)
        self._timed[line] = moment

    def wait_at_gate(self, line: Line) -> None:
        """Nothing of this line may be sent before its parent is imported. A line with a time keeps its time."""
        if line not in self._timed:
            self._gated[line] = None

    def release(self, line: Line) -> None:
        """Its parent was imported just now: due at once, if it waited at the gate."""
        if line in self._gated:
            self.wait_until(line, 0.0)

    def leave(self, line: Line) -> None:
        """The line waits no more."""
        self._timed.pop(line, None)
        self._gated.pop(line, None)

    def has_come(self, moment: float, now: float) -> bool:
        """Also one that is too far ahead: it was told before the clock was set back."""
        return not now < moment <= now + self._longest_s

    def due(self, now: float, topics: Collection[str], limit: int) -> list[Line]:
        """Lines of these topics whose moment has come."""
        latest = now + self._longest_s
        coming = ((line, not now < moment <= latest) for line, moment in self._timed.items())
        return list(islice((line for line, due in coming if due and line.topic in topics), limit))

    def at_gate(self, topics: Collection[str], limit: int) -> list[Line]:
        """The lines of these topics at the gate that were looked at longest ago; they go to the end of the queue."""
        looked_at = list(islice((line for line in self._gated if line.topic in topics), limit))
        for line in looked_at:
            del self._gated[line]
            self._gated[line] = None
        return looked_at

    def replace(self, timed: Mapping[Line, float], gated: Iterable[Line]) -> None:
        """What is stored is the truth: forget the rest."""
        self._timed = dict(timed)
        self._gated = dict.fromkeys(line for line in gated if line not in self._timed)
