"""A replay while it works: two bars on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_PLAIN_EVERY_S = 5.0


class _Rate(TextColumn):
    """Letters per second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} per s" if speed else "")


class ReplayProgress:
    """Port `Progress` of a replay, once it is known how many there are."""

    def __init__(self, console: Console) -> None:
        self._console = console
        width = 12 if console.width < 100 else 40
        columns = (TextColumn("{task.description}"), BarColumn(width), MofNCompleteColumn(), _Rate())
        # Elsewhere than on a terminal, bars leave an empty line behind.
        disable = not console.is_terminal
        self._bars = Progress(*columns, TimeRemainingColumn(compact=True), console=console, disable=disable)
        self._sending = self._bars.add_task("sent", total=None, visible=False)
        self._ending = self._bars.add_task("ended", total=None, visible=False)
        self._sent, self._total, self._plain_at = 0, 0, 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self._bars.stop()

    def begin(self, to_send: int, all_of_them: int) -> None:
        self._total = all_of_them
        if all_of_them:
            self._bars.update(self._sending, total=to_send, visible=to_send > 0)
            self._bars.update(self._ending, total=all_of_them, visible=True)

    def sent(self, count: int) -> None:
        self._sent += count
        self._bars.update(self._sending, completed=self._sent)
        self._plain(f"{self._sent:,} sent")

    def left(self, count: int) -> None:
        self._bars.update(self._ending, completed=max(0, self._total - count))
        self._plain(f"{self._sent:,} sent, {count:,} on their way")

    def _plain(self, line: str) -> None:
        if self._console.is_terminal or not self._total or time.monotonic() < self._plain_at:
            return
        self._plain_at = time.monotonic() + _PLAIN_EVERY_S
        self._console.print(line, highlight=False, soft_wrap=True)
