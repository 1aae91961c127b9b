"""SIGTERM under load: each process ends by itself, in time and without an error, and its successor goes on."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.frame import Chaos, Json, Passed, Site, chaos_project, slowed
from tests.chaos.processes import Turns, wait_until_gone
from tests.chaos.proof import prove

from chatferry.operator.runs import Options

NAME = "terminations"
VICTIMS = ("extractor", "importer", "chat", "verifier")
_DRAIN_S = 10.0
_END_S = 300.0


@dataclass(frozen=True, slots=True)
class Scale:
    """`signals`: at least so many."""

    messages: int
    chats: int
    page: int
    max_rate: float
    signals: int
    pause_s: float


SHORT = Scale(messages=700, chats=16, page=20, max_rate=0.9, signals=6, pause_s=1.0)
LONG = Scale(messages=40_000, chats=300, page=50, max_rate=0.6, signals=50, pause_s=5.0)


def disturb(root: Path, seed: int, scale: Scale) -> Passed:
    """Raises AssertionError with what was lost, doubled, late, or ended with an error."""
    site = Site("signals", seed, scale.chats, scale.messages, settings=slowed(scale.page))
    ended: Counter[str] = Counter()
    drains: list[float] = []
    with chaos_project(root, site) as chaos:
        began = time.monotonic()
        run = chaos.in_mid_run(Options(max_rate=scale.max_rate))
        turns = Turns(chaos.random, VICTIMS)
        while chaos.under_way(run):
            name = turns.next()
            drains.append(_terminate(chaos, name))
            ended[name] += 1
            assert ended[name] == _stops(chaos, name), f"{name} has not ended by itself\n{chaos.story()}"
            time.sleep(chaos.random.uniform(0, scale.pause_s))
        messages = prove(chaos, chaos.finish(run, _END_S))
        _assert_no_errors(chaos)
        seconds = time.monotonic() - began
    assert ended.total() >= scale.signals, f"the run held only {ended.total()} signals"
    figures = {
        "signals": ended.total(),
        "messages": messages,
        "seconds": f"{seconds:.0f}",
        "longest-drain": f"{max(drains):.1f}s",
    }
    return Passed(NAME, seed, figures)


def _terminate(chaos: Chaos, name: str) -> float:
    """Seconds until it was gone; another is there and ready afterwards, and work goes on."""
    before = chaos.imported()
    process = chaos.processes.kill(name, signal.SIGTERM)
    began = time.monotonic()
    wait_until_gone(process, _DRAIN_S + 3)
    spent = time.monotonic() - began

    def goes_on() -> bool:
        run = chaos.database.runs.find_one({"state": "running"})
        working = run is None or run["phase"] == "verify" or chaos.imported() > before
        return working and chaos.processes.find(name) not in (None, process) and not chaos.wrong(name)

    chaos.until(goes_on, f"work goes on after {name} has ended", 60)
    return spent


def _lines(chaos: Chaos, name: str) -> list[Json]:
    text = (chaos.folder.logs / f"{name}.log").read_text(encoding="utf-8")
    return [json.loads(line) if line.startswith("{") else {"event": line, "level": "raw"} for line in text.splitlines()]


def _stops(chaos: Chaos, name: str) -> int:
    return sum(line["event"] == "service.stopped" for line in _lines(chaos, name))


def _assert_no_errors(chaos: Chaos) -> None:
    """A stop that is asked for is no error, neither of who stops nor of the others: all lines are JSON, none of them
    an error, no drain was late."""
    for name in VICTIMS:
        wrong = [line for line in _lines(chaos, name) if line["level"] in ("error", "critical", "raw")]
        wrong += [line for line in _lines(chaos, name) if line["event"] == "drain.late"]
        assert wrong == [], (name, wrong[:5])
