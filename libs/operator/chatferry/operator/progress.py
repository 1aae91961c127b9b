"""A run while it works: one row per entity, with rate and time left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chatferry.common.counts import Count
from chatferry.common.entities import Family
from chatferry.common.errors import FatalError, OutageError
from chatferry.operator.runs import UNDER_WAY, Store

_LOOK_S = 0.5
_PLAIN_EVERY_S = 5.0
_WINDOW_S = 15.0
_MOST_SHARE = 0.05
_COLUMNS = ("listed", "extracted", "published", "imported", "verified", "skipped", "dead", "waiting")
_BAR = 24
_UNBOUNDED = 1_000


@dataclass(slots=True)
class Rate:
    """Records per second over the last seconds."""

    seen: list[tuple[float, int]] = field(default_factory=list)

    def of(self, now: float, done: int) -> float:
        self.seen.append((now, done))
        while len(self.seen) > 2 and now - self.seen[0][0] > _WINDOW_S:
            self.seen.pop(0)
        (first, before), (last, after) = self.seen[0], self.seen[-1]
        return (after - before) / (last - first) if last > first else 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """An entity as it is shown. `rate`: records per second, `left`: time until its end; empty while unknown."""

    entity: str
    total: int
    done: int
    numbers: dict[str, str]
    rate: str
    left: str

    def bar(self, width: int | None = None) -> ProgressBar:
        return ProgressBar(total=self.total, completed=min(self.done, self.total), width=width)


class Follower:
    """Shows a run until it ends. `failed` tells whether a process that the run needs cannot be kept running."""

    def __init__(self, store: Store, console: Console, failed: Callable[[], str | None]) -> None:
        self._store, self._console, self._failed = store, console, failed
        self._rates: dict[str, Rate] = {}
        self._plain_at = 0.0

    async def follow(self, run: str, family: Family) -> dict[str, Any]:
        """The run's document once it has ended. Raises FatalError when a process it needs has given up."""
        with Live(console=self._console, refresh_per_second=4, transient=False) as live:
            while True:
                began = time.monotonic()
                document, counts = await self._look(run, family)
                lines = [self._line(document, count) for count in counts]
                if self._console.is_terminal:
                    live.update(self._shown(document, lines))
                else:
                    self._plain(document, counts, lines)
                if document.get("state") not in UNDER_WAY:
                    return document
                if (reason := self._failed()) is not None:
                    raise FatalError("process.failed", reason)
                spent = time.monotonic() - began
                await asyncio.sleep(max(_LOOK_S, spent / _MOST_SHARE))

    async def _look(self, run: str, family: Family) -> tuple[dict[str, Any], list[Count]]:
        while True:
            try:
                return await self._store.run(run), await self._store.counts(family, run)
            except OutageError:
                # A part that is away is shown by the services' health; following goes on when it is back.
                if (reason := self._failed()) is not None:
                    raise FatalError("process.failed", reason) from None
                await asyncio.sleep(_LOOK_S)

    def _line(self, run: dict[str, Any], count: Count) -> Line:
        total, done = max(count.listed, 1), _done(run, count)
        rate = self._rates.setdefault(count.entity, Rate()).of(time.monotonic(), done)
        left = _duration((total - done) / rate) if rate > 0 and done < total else ""
        verified = count.imported if run.get("verified") else count.verified
        values = {name: getattr(count, name) for name in _COLUMNS} | {"verified": verified}
        numbers = {name: f"{value:,}" if name != "dead" or value else "-" for name, value in values.items()}
        return Line(count.entity, total, done, numbers, f"{rate:,.0f}" if rate else "", left)

    def _shown(self, run: dict[str, Any], lines: Sequence[Line]) -> Group:
        phase = run.get("phase") or run.get("state") or "?"
        head = Text.assemble((f"{run.get('_id')}", "bold"), "  ", (str(phase), "cyan"))
        wide = _wide(lines)
        unbounded = self._console.options.update(width=_UNBOUNDED)
        fits = Measurement.get(self._console, unbounded, wide).maximum <= self._console.width
        return Group(head, wide if fits else _tall(lines))

    def _plain(self, run: dict[str, Any], counts: Sequence[Count], lines: Sequence[Line]) -> None:
        ended = run.get("state") not in UNDER_WAY
        if time.monotonic() < self._plain_at and not ended:
            return
        self._plain_at = time.monotonic() + _PLAIN_EVERY_S
        parts = [
            f"{one.entity}: {one.extracted} of {one.listed} extracted, {one.imported} imported, {one.dead} dead"
            + (f", {line.rate} per s" if line.rate else "")
            + (f", {line.left} left" if line.left else "")
            for one, line in zip(counts, lines, strict=True)
        ]
        phase = run.get("phase") or run.get("state")
        self._console.print(f"{run.get('_id')} {phase}: " + "; ".join(parts), highlight=False, soft_wrap=True)


def _wide(lines: Sequence[Line]) -> Table:
    """A row for each entity."""
    table = Table(box=None, pad_edge=False, expand=False)
    table.add_column("")
    table.add_column("", width=_BAR)
    for name in _COLUMNS:
        table.add_column(name, justify="right", style="red" if name == "dead" else None)
    table.add_column("per s", justify="right")
    table.add_column("left", justify="right")
    for line in lines:
        table.add_row(line.entity, line.bar(_BAR), *line.numbers.values(), line.rate, line.left)
    return table


def _tall(lines: Sequence[Line]) -> Table:
    """A column for each entity, where a row has no room."""
    table = Table(box=None, pad_edge=False, expand=False)
    table.add_column("")
    for line in lines:
        table.add_column(line.entity, justify="right")
    table.add_row("", *(line.bar(len(line.entity)) for line in lines))
    for name in _COLUMNS:
        table.add_row(name, *(line.numbers[name] for line in lines), style="red" if name == "dead" else None)
    table.add_row("per s", *(line.rate for line in lines))
    table.add_row("left", *(line.left for line in lines))
    return table


def _done(run: dict[str, Any], count: Count) -> int:
    if (run.get("options") or {}).get("republish") == count.entity:
        return int(run.get("published") or 0)
    phases = run.get("phases") or ()
    return count.imported + count.dead + count.skipped if "set" in phases else count.published


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
