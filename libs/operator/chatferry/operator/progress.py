"""A run while it works: one row per entity, with rate and time left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
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
_NARROW = 100


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
                shown = self._table(document, counts)
                if self._console.is_terminal:
                    live.update(shown)
                else:
                    self._plain(document, counts)
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

    def _table(self, run: dict[str, Any], counts: Sequence[Count]) -> Group:
        narrow = self._console.width < _NARROW
        table = Table(box=None, pad_edge=False, expand=False)
        table.add_column("")
        table.add_column("", width=12 if narrow else 24)
        for name in _COLUMNS if not narrow else ("listed", "imported", "dead"):
            table.add_column(name, justify="right", style="red" if name == "dead" else None)
        table.add_column("per s", justify="right")
        table.add_column("left", justify="right")
        for count in counts:
            self._row(table, run, count, narrow=narrow)
        phase = run.get("phase") or run.get("state") or "?"
        head = Text.assemble((f"{run.get('_id')}", "bold"), "  ", (str(phase), "cyan"))
        return Group(head, table)

    def _row(self, table: Table, run: dict[str, Any], count: Count, *, narrow: bool) -> None:
        total, done = max(count.listed, 1), _done(run, count)
        rate = self._rates.setdefault(count.entity, Rate()).of(time.monotonic(), done)
        left = _duration((total - done) / rate) if rate > 0 and done < total else ""
        verified = count.imported if run.get("verified") else count.verified
        values = {name: getattr(count, name) for name in _COLUMNS} | {"verified": verified}
        names = _COLUMNS if not narrow else ("listed", "imported", "dead")
        bar = ProgressBar(total=total, completed=min(done, total), width=12 if narrow else 24)
        numbers = [f"{values[name]:,}" if name != "dead" or values[name] else "-" for name in names]
        table.add_row(count.entity, bar, *numbers, f"{rate:,.0f}" if rate else "", left)

    def _plain(self, run: dict[str, Any], counts: Sequence[Count]) -> None:
        ended = run.get("state") not in UNDER_WAY
        if time.monotonic() < self._plain_at and not ended:
            return
        self._plain_at = time.monotonic() + _PLAIN_EVERY_S
        parts = [
            f"{one.entity}: {one.extracted} of {one.listed} extracted, {one.imported} imported, {one.dead} dead"
            for one in counts
        ]
        phase = run.get("phase") or run.get("state")
        self._console.print(f"{run.get('_id')} {phase}: " + "; ".join(parts), highlight=False, soft_wrap=True)


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
