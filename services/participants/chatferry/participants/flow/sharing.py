"""The part of the reads that readers leave to the rest, however much they ask for."""

from __future__ import annotations

from dataclasses import dataclass

from chatferry.participants.domain.plan import Urgency

_ASKED_EACH = 3
"""So many reads that are asked for go before one that is not: one in four."""
_MOST = 3


@dataclass(slots=True)
class Share:
    """What is not asked for is owed places among the claims, and then leave as if it were asked for. Both are counted
    in reads that were asked for. `crowded`: the last claims left no place."""

    crowded: bool = False
    _places: int = 0
    _leaves: int = 0

    @property
    def places(self) -> int:
        """How many of the next claims are for what is not asked for."""
        return self._places // _ASKED_EACH

    def claimed(self, asked: int, others: int, *, crowded: bool) -> None:
        """So many were. Whoever was owed some and did not come is owed no more."""
        owed = max(0, self._places - others * _ASKED_EACH) if others >= self.places else 0
        self.crowded = crowded
        self._places = min(_MOST * _ASKED_EACH, owed + asked)

    def leave_as(self, urgency: Urgency) -> Urgency:
        """With which urgency a read's leave is taken now."""
        return Urgency.ASKED if self._leaves >= _ASKED_EACH else urgency

    def left(self, urgency: Urgency, taken_as: Urgency) -> None:
        """Leave was given to a read, which was taken so."""
        if urgency is Urgency.ASKED:
            self._leaves = min(_MOST * _ASKED_EACH, self._leaves + 1)
        elif taken_as is Urgency.ASKED:
            self._leaves -= _ASKED_EACH
