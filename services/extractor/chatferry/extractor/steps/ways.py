"""Which way a root is walked: through which webhook, by which method, and how often."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from chatferry.common.entities.reading import View
from chatferry.extractor.ports import Row

_MOST_WALKS = 2
_REFUSED = -1
_MOST_READS = 16


@dataclass(slots=True)
class Root:
    """A root whose walk is under way.

    `known`: records of it may be stored already. `walks`: how many came before this one. `gone`: how many stored
    records this walk has missed so far; `rejected`: rows without an id; `began`: the number of its first read.
    `tried`: of each webhook, how many its last walk in this run saw; -1 when it was refused. `real`: the
    planned method was refused. `reads`: the W3C contexts of the batches that it was read in, the last ones.
    """

    key: str
    seq: int
    views: list[View]
    view: int
    stored: bool
    known: bool
    walks: int
    gone: int
    rejected: int
    began: int | None
    tried: dict[int, int]
    real: bool = False
    reads: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_READS))

    @property
    def webhook(self) -> int:
        return self.views[self.view].webhook

    def way(self) -> Row:
        """What the row has to say for another process to go on with this walk."""
        return {"walks": self.walks, "through": self.webhook, "tried": [[*one] for one in self.tried.items()]}

    def refused(self) -> bool:
        """Whether there is another view to go on with: one that was not tried, else the one that saw most."""
        self.tried[self.webhook] = _REFUSED
        left = self._untried() or [n for n, seen in self._seen().items() if seen == max(self._seen().values())]
        self.view = left[0] if left else self.view
        return bool(left)

    def next_view(self, state: Row, rejected: int) -> int | None:
        """Through which view a root is walked again whose walk has ended; None: no more.

        A walk that missed the claim is followed by one through another webhook, which may see more, or by one more:
        something may have been deleted meanwhile. When all were tried, the one that saw most has the last word.
        """
        seen, walks = state["listed"] + rejected, self.walks + 1
        if state["limited"] or (state["claimed"] == seen and self.saw_most(seen)):
            return None
        if state["claimed"] > seen and (untried := self._untried()):
            return untried[0]
        best = self.best(seen)
        return best if walks < _MOST_WALKS or (best != self.view and walks <= len(self.views)) else None

    def saw_most(self, seen: int) -> bool:
        """Whether no other webhook has shown more in this run: else this one does not see all there is."""
        return all(other <= seen for webhook, other in self.tried.items() if webhook != self.webhook)

    def best(self, seen: int) -> int:
        """The view that saw most, this walk with what it has `seen` included."""
        saw = {**self._seen(), self.view: seen}
        return max(saw, key=lambda n: (saw[n], n == self.view))

    def _seen(self) -> dict[int, int]:
        tried = {n: self.tried.get(view.webhook, _REFUSED) for n, view in enumerate(self.views)}
        return {n: seen for n, seen in tried.items() if seen > _REFUSED}

    def _untried(self) -> list[int]:
        """Views in turn after this one."""
        others = [(self.view + n) % len(self.views) for n in range(1, len(self.views))]
        return [n for n in others if self.views[n].webhook not in self.tried]


def root_of(row: Row) -> Root:
    """As the row says."""
    views, found = [View(view["webhook"], view["ref"]) for view in row["views"]], row["found"]
    return Root(
        row["_id"],
        row["seq"],
        views,
        _first_view(views, row.get("through") or row.get("reader"), row["seq"]),
        row["stored"],
        bool(row["known"]),
        row["walks"],
        found.get("gone", 0),
        found.get("rejected", 0),
        found.get("began"),
        dict(row.get("tried") or []),
    )


def is_over(walk: Row) -> bool:
    """A walk that was to be made once more, when its process was killed: it has nothing left to ask for."""
    return bool(walk.get("complete") and walk.get("closed_low") and walk.get("closed_high"))


def _first_view(views: Sequence[View], reader: int | None, seq: int) -> int:
    """The webhook that read most the last time: another one may see less. New roots are spread over all."""
    return next((n for n, view in enumerate(views) if view.webhook == reader), seq % len(views))
