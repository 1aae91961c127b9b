"""The picture in a terminal: 80 columns are enough, more show more."""

from __future__ import annotations

import time
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chatferry.operator.counting.judging import MAX_CALLS_IN_A_SECOND, Verdict
from chatferry.operator.counting.picture import SAYS, Picture, Row

_NARROW, _WIDE = 100, 120
_PLAIN_EVERY_S = 5.0
_BAR = 24
_COLUMNS: tuple[tuple[str, int, Literal["left", "right"]], ...] = (
    ("at MAX", 6, "right"),
    ("served", 6, "right"),
    ("", 1, "left"),
    ("state", 11, "left"),
    ("read", 6, "right"),
    ("changed", 7, "right"),
    ("shown in", 8, "right"),
)
STATE_STYLES = {"fresh": "green", "provisional": "cyan", "stale": "yellow", "frozen": "blue", "denied": "magenta"}


class Screen:
    """Shows pictures: a live view in a terminal, else a line every few seconds. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, transient=False)
        self._plain_at = 0.0

    def __enter__(self) -> Screen:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, picture: Picture) -> None:
        if self._console.is_terminal:
            self._live.update(rendered(picture, self._console.width))
        elif time.monotonic() >= self._plain_at:
            self._plain_at = time.monotonic() + _PLAIN_EVERY_S
            self._console.print(plain(picture), highlight=False, soft_wrap=True, markup=False)


def rendered(picture: Picture, width: int) -> RenderableType:
    narrow = width < _NARROW
    parts: list[RenderableType] = [_head(picture), _figures(picture, columns=3 if width >= _WIDE else 2)]
    if picture.rows:
        parts += [Text(), _rows(picture.rows, narrow=narrow)]
    return Group(*parts)


def plain(picture: Picture) -> str:
    """The same in one line."""
    if picture.phase == "learning":
        return f"learning: {picture.counted} of {picture.chats} chats counted, {picture.calls_total} calls"
    return (
        f"{picture.phase}: {picture.changes} changes, {_share(picture.right_share)} of served counts right,"
        f" {picture.calls_per_s:.1f} calls a second, p99 {picture.p99_ms:.0f} ms,{_left(picture.left_s)} left"
    )


def _head(picture: Picture) -> Table:
    line = Table.grid(padding=(0, 2))
    line.add_row(
        Text(picture.phase, style="bold cyan"),
        ProgressBar(total=1.0, completed=picture.done, width=_BAR),
        Text(f"{_left(picture.left_s).strip()} left" if picture.left_s is not None else ""),
        Text(SAYS[picture.phase], style="dim", overflow="ellipsis", no_wrap=True),
    )
    return line


def _figures(picture: Picture, *, columns: int) -> Table:
    calls_style = "bold red" if picture.calls_most > MAX_CALLS_IN_A_SECOND else "bold"
    counted = f"{picture.counted:,}" if picture.phase == "learning" else f"{picture.chats:,}"
    cells = [
        ("chats counted", Text(f"{counted} of {picture.chats:,}", style="bold")),
        ("changes at MAX", Text(f"{picture.changes:,}, {picture.missed:,} untold", style="bold")),
        ("counts right", Text(_share(picture.right_share), style="bold green")),
        ("calls to MAX", Text(f"{picture.calls_per_s:.1f}/s, {picture.calls_total:,} in all", style="bold")),
        ("most in a second", Text(f"{picture.calls_most} of {MAX_CALLS_IN_A_SECOND}", style=calls_style)),
        ("pages from cache", Text(_share(picture.cached_share), style="bold")),
        ("change shows in", Text(_lag(picture), style="bold")),
        ("readers' calls", Text(_readers(picture), style="bold red" if picture.failed else "bold")),
    ]
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(columns):
        table.add_column(style="dim", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", min_width=19)
    for begin in range(0, len(cells), columns):
        table.add_row(*(part for label, value in cells[begin : begin + columns] for part in (Text(label), value)))
    return table


def _rows(rows: tuple[Row, ...], *, narrow: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("changed last", no_wrap=True, overflow="ellipsis", width=20 if narrow else 36)
    for name, width, justify in _COLUMNS:
        table.add_column(name, justify=justify, width=width, no_wrap=True)
    for row in rows:
        mark = Text("✓", style="green") if row.right else Text("…", style="yellow")
        table.add_row(
            Text(row.title),
            "out" if row.truth is None else f"{row.truth:,}",
            Text("-" if row.served is None else f"{row.served:,}", style="" if row.right else "yellow"),
            mark,
            Text(row.state, style=STATE_STYLES.get(row.state, "")),
            _ago(row.age_s),
            _ago(row.changed_s),
            "" if row.lag_s is None else _seconds(row.lag_s),
        )
    return table


def summary(verdict: Verdict, console: Console) -> None:
    """The end, for a person."""
    table = Table.grid(padding=(0, 2))
    for name, value in verdict.as_json().items():
        shown = ("yes" if value else "no") if isinstance(value, bool) else f"{value:,}"
        table.add_row(Text(name, style="dim"), Text(shown, style="bold"))
    console.print(table)
    for sentence in verdict.wrong:
        console.print(Text(sentence, style="red"))


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f" {max(0, round(seconds))} s"


def _lag(picture: Picture) -> str:
    if picture.lag_p50_s is None or picture.lag_most_s is None:
        return "-"
    return f"{_seconds(picture.lag_p50_s)}, at most {_seconds(picture.lag_most_s)}"


def _readers(picture: Picture) -> str:
    failed = f", {picture.failed} failed" if picture.failed else ""
    return f"{picture.requests:,}, p99 {picture.p99_ms:.0f} ms{failed}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
