"""How a run is shown while it works: every state of every entity, on terminals of any width and without one."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from chatferry.common.counts import Count
from chatferry.common.entities import FAMILIES, Family
from chatferry.operator import progress
from chatferry.operator.progress import Follower, Rate, _duration

STATES = {
    "listed": "12,345,678",
    "extracted": "12,345,677",
    "published": "12,345,676",
    "imported": "12,345,675",
    "verified": "12,345,674",
    "skipped": "1,234",
    "dead": "5,678",
    "waiting": "9,012",
}
MANY = Count("chat_messages", **{name: int(number.replace(",", "")) for name, number in STATES.items()}, parked=0)
FEW = Count("chats", 48, 48, 48, 40, 0, 0, 0, 8, 0)


class Store:
    """A run that is looked at twice, a second after the other: then it has ended."""

    def __init__(self, *looks: list[Count]) -> None:
        self._looks = list(looks)

    async def run(self, _run: str) -> dict[str, Any]:
        state = "running" if len(self._looks) > 1 else "completed"
        return {"_id": "chats-1", "state": state, "phase": "set", "phases": ["get", "set"]}

    async def counts(self, _family: Family, _run: str) -> list[Count]:
        return self._looks.pop(0)


async def followed(
    monkeypatch: pytest.MonkeyPatch, *looks: list[Count], width: int = 80, terminal: bool = True
) -> list[str]:
    stream, clock = io.StringIO(), iter(range(1_000))
    monkeypatch.setattr(progress, "_LOOK_S", 0.0)
    monkeypatch.setattr(progress, "_MOST_SHARE", 1e9)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    console = Console(file=stream, width=width, height=40, force_terminal=terminal, color_system=None)
    await Follower(Store(*looks), console, lambda: None).follow("chats-1", FAMILIES["chats"])  # type: ignore[arg-type]
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
async def test_every_state_of_every_entity_is_shown_whole_on_a_terminal_of_any_width(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    lines = await followed(monkeypatch, [FEW, MANY], width=width)
    shown = "\n".join(lines)
    assert all(name in shown for name in STATES), shown
    assert all(number in shown for number in STATES.values()), shown
    assert "\u2026" not in shown
    assert max(len(line) for line in lines if "\x1b" not in line) <= width


async def test_on_80_columns_a_state_is_a_row_and_an_entity_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {words[0]: words[1:] for line in await followed(monkeypatch, [FEW, MANY]) if (words := line.split())}
    assert rows["chats"] == ["chat_messages"]
    for name, number in STATES.items():
        assert rows[name][-1] == number
    assert rows["dead"][0] == "-"


async def test_without_a_terminal_a_line_has_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = (Count("chat_messages", 1_000, 1_000, 1_000, done, 0, 0, 0, 1_000 - done, 0) for done in (100, 400))
    lines = await followed(monkeypatch, [before], [after], terminal=False)
    last = next(line for line in reversed(lines) if line)
    assert "chat_messages: 1000 of 1000 extracted, 400 imported, 0 dead, " in last
    assert " per s, " in last
    assert last.endswith(" s left")


def test_a_rate_is_that_of_the_last_seconds_and_none_before_two_looks() -> None:
    rate = Rate()
    assert rate.of(0.0, 100) == 0.0
    assert rate.of(10.0, 600) == 50.0
    assert rate.of(60.0, 600) == 0.0, "nothing came for longer than the window"
    assert rate.of(61.0, 610) == 10.0


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_600, "1 h 0 min"), (90_061, "25 h 1 min")]
)
def test_time_left_is_told_in_two_units_at_most(seconds: float, words: str) -> None:
    assert _duration(seconds) == words
