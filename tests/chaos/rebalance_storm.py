"""Importers that join and leave, one after the other, while others work: each leaves as asked or is killed. Who has
joined starts while the next ones come and go: so all of it fits into its time."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.frame import Chaos, Passed, Site, chaos_project, slowed
from tests.chaos.groups import generations
from tests.chaos.processes import Replicas
from tests.chaos.proof import prove

from chatferry.operator.runs import Options

NAME = "rebalance-storm"
_KILLED = 0.25
# Some moves fall into the rebalance of another.
_SEEN = 2 / 3
_MOST_STILL_S, _END_S, _JOINS_S = 60.0, 600.0, 60.0


@dataclass(frozen=True, slots=True)
class Scale:
    """`moves`: joins and leaves together, each `apart_s` after the one before, give or take; all within `within_s`."""

    messages: int
    chats: int
    page: int
    max_rate: float
    moves: int
    apart_s: float
    within_s: float
    most: int


SHORT = Scale(messages=1_000, chats=20, page=20, max_rate=0.6, moves=5, apart_s=3.0, within_s=60, most=2)
LONG = Scale(messages=40_000, chats=300, page=50, max_rate=0.7, moves=30, apart_s=5.0, within_s=180, most=3)


@dataclass(slots=True)
class Storm:
    """Joins and leaves; and how long nothing arrived at the target."""

    chaos: Chaos
    replicas: Replicas
    joins: int = 0
    leaves: int = 0
    killed: int = 0
    longest_still_s: float = 0.0
    _imported: int = field(default=-1)
    _grown_at: float = field(default_factory=time.monotonic)

    def move(self, most: int) -> None:
        """One joins where there is room, else one leaves that has started."""
        room, chance = len(self.replicas.living) < most, self.chaos.random.random()
        if room and (chance < 0.6 or not self._started()):
            self.replicas.join()
            self.joins += 1
            return
        self.chaos.until(self._started, "an importer that has joined starts", _JOINS_S)
        number = self.chaos.random.choice(self._started())
        hard = self.chaos.random.random() < _KILLED
        code = self.replicas.leave(number, signal.SIGKILL if hard else signal.SIGTERM)
        assert hard or code == 0, f"importer {number} ended with {code}"
        self.killed += hard
        self.leaves += 1

    def all_have_started(self) -> None:
        """Whoever has joined is there."""
        wanted = len(self.replicas.living)
        self.chaos.until(lambda: len(self._started()) == wanted, "all that have joined start", _JOINS_S)

    def _started(self) -> list[int]:
        return [number for number in self.replicas.living if self.replicas.address(number).exists()]

    def watch(self, seconds: float) -> None:
        """Look at the target meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (now := self.chaos.imported()) > self._imported:
                self._imported, self._grown_at = now, time.monotonic()
            self.longest_still_s = max(self.longest_still_s, time.monotonic() - self._grown_at)
            assert self.longest_still_s < _MOST_STILL_S, f"nothing is imported any more\n{self.chaos.story()}"
            time.sleep(0.2)


def disturb(root: Path, seed: int, scale: Scale) -> Passed:
    """Raises AssertionError with what was lost, doubled, or stood still."""
    site = Site("storm", seed, scale.chats, scale.messages, settings=slowed(scale.page))
    with chaos_project(root, site) as chaos, Replicas(chaos.folder, "importer") as replicas:
        run = chaos.in_mid_run(Options(max_rate=scale.max_rate))
        group = f"{chaos.project.name}.importer"
        before = generations(chaos.project.kafka, group)
        storm, began = Storm(chaos, replicas), time.monotonic()
        for number in range(scale.moves):
            # Where a move has taken longer, the next one follows at once.
            due = (number + chaos.random.uniform(0, 0.8)) * scale.apart_s
            storm.watch(began + due - time.monotonic())
            assert chaos.run(run).get("phase") == "get", "the reading was over before the storm"
            storm.move(scale.most)
        storm.all_have_started()
        seconds = time.monotonic() - began
        storm.watch(scale.apart_s)
        for number in list(replicas.living):
            assert replicas.leave(number) == 0
        messages = prove(chaos, chaos.finish(run, _END_S))
        rebalances = generations(chaos.project.kafka, group) - before
    assert seconds <= scale.within_s, f"{scale.moves} moves took {seconds:.0f} s"
    assert len(rebalances) >= scale.moves * _SEEN, f"hardly a rebalance: {sorted(rebalances)}"
    figures = {
        "joins": storm.joins,
        "leaves": storm.leaves,
        "killed": storm.killed,
        "messages": messages,
        "seconds": f"{seconds:.0f}",
        "rebalances": len(rebalances),
        "longest-still": f"{storm.longest_still_s:.1f}s",
    }
    return Passed(NAME, seed, figures)
