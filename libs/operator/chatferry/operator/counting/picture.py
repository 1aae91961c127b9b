"""What a person sees, in the terminal and on the page: one moment of the demo."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Phase = Literal["learning", "changing", "quiet", "done"]
SAYS: dict[Phase, str] = {
    "learning": "every chat is read for the first time",
    "changing": "people come and go",
    "quiet": "nothing changes any more; the counts must come right",
    "done": "the end",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A chat that has changed lately. `truth` None: the bot was put out. `lag_s`: how long the last change took to
    show; None: it does not show yet."""

    title: str
    truth: int | None
    served: int | None
    state: str
    age_s: float | None
    changed_s: float
    lag_s: float | None
    right: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """Shares lie between 0 and 1; None: nothing to say yet. `series`: newest last, one value a second."""

    phase: Phase
    done: float
    """Share of the phase."""
    left_s: float | None
    chats: int
    counted: int
    replicas: int
    events: str
    changes: int
    missed: int
    calls_per_s: float
    calls_most: int
    calls_total: int
    twice_at_once: int
    right_share: float | None
    cached_share: float | None
    lag_p50_s: float | None
    lag_most_s: float | None
    requests: int
    failed: int
    p99_ms: float
    rows: tuple[Row, ...] = ()
    calls_series: tuple[float, ...] = ()
    right_series: tuple[float | None, ...] = ()
    verdict: dict[str, Any] | None = None
    wrong: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"says": SAYS[self.phase]}
