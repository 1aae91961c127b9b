"""SIGKILL of any process at any moment: services, target, Kafka, MongoDB, Redis; the next once progress came back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.frame import Chaos, Passed, Site, chaos_project, slowed
from tests.chaos.processes import Turns
from tests.chaos.proof import prove

from chatferry.operator.launch import SERVICES
from chatferry.operator.runs import Options

NAME = "kill-anywhere"
VICTIMS = ("extractor", "importer", "chat", "verifier", "kafka", "mongodb", "redis")
_BACK_S, _END_S = 120.0, 300.0


@dataclass(frozen=True, slots=True)
class Scale:
    """`kills`: at least so many, `most`: at most so many in each phase; `max_rate`: requests a second, what makes the
    run last."""

    messages: int
    chats: int
    page: int
    max_rate: float
    kills: int
    most: int
    pause_s: float


SHORT = Scale(messages=600, chats=16, page=20, max_rate=0.7, kills=5, most=5, pause_s=1.0)
LONG = Scale(messages=100_000, chats=600, page=50, max_rate=0.7, kills=100, most=100_000, pause_s=4.0)


@dataclass(slots=True)
class Killing:
    """Who was killed how often, and how long it took until work went on."""

    chaos: Chaos
    run: str
    kills: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    turns: Turns = field(init=False)

    def __post_init__(self) -> None:
        self.turns = Turns(self.chaos.random, VICTIMS)

    def once(self) -> None:
        """Kill one, sometimes two at once, and wait until what they do goes on."""
        count = 2 if self.chaos.random.random() < 0.15 else 1
        victims = [name for name in (self.turns.next() for _ in range(count)) if self.chaos.processes.find(name)]
        before = self._marks()
        for name in dict.fromkeys(victims):
            self.chaos.processes.kill(name)
            self.kills[name] += 1
        what = f"progress after the kill of {' and '.join(victims)}"
        self.waits.append(self.chaos.until(lambda: self._is_back(victims, before), what, _BACK_S))

    def _marks(self) -> tuple[int, int, int]:
        return self.chaos.pages(), self.chaos.imported(), self._verdicts()

    def _verdicts(self) -> int:
        verdicts = self.chaos.database.verify_verdicts
        return int(self.chaos.seen(lambda: verdicts.count_documents({}, hint="_id_"), -1))

    def _is_back(self, victims: Sequence[str], before: tuple[int, int, int]) -> bool:
        if not all(self.chaos.processes.find(name) for name in victims):
            return False
        document = self.chaos.run(self.run)
        if document.get("state") not in (None, "running"):
            return True
        phase, now = document.get("phase"), self._marks()
        grown = [after > earlier for after, earlier in zip(now, before, strict=True)]
        if phase == "get":
            return grown[0] and grown[1]
        if phase == "set":
            return grown[1]
        # The last phase may have nothing left but to be concluded.
        return phase == "verify" and -1 not in now


def disturb(root: Path, seed: int, scale: Scale) -> Passed:
    """Raises AssertionError with what was lost, doubled, or has not come back."""
    site = Site("kills", seed, scale.chats, scale.messages, settings=slowed(scale.page))
    with chaos_project(root, site, own_stack=True) as chaos:
        began = time.monotonic()
        run = chaos.in_mid_run(Options(max_rate=scale.max_rate))
        killing = Killing(chaos, run)
        while chaos.under_way(run):
            if killing.phases[phase := str(chaos.run(run).get("phase"))] < scale.most:
                before = killing.kills.total()
                killing.once()
                killing.phases[phase] += killing.kills.total() - before
            time.sleep(chaos.random.uniform(0, scale.pause_s))
        ended = chaos.finish(run, _END_S)
        # The last one killed may have had nothing left to do; it comes back all the same.
        chaos.until(lambda: not any(chaos.wrong(name) for name in SERVICES), "all are ready again", _BACK_S)
        messages = prove(chaos, ended)
        seconds = time.monotonic() - began
    kills = killing.phases["get"] + killing.phases["set"]
    # In the last phase nothing may be left to be done: who is back then has not shown that it works.
    assert kills >= scale.kills, f"the run held only {kills} kills before its last phase"
    assert messages >= scale.messages
    figures = {
        "kills": killing.kills.total(),
        **{f"in-{phase}": count for phase, count in killing.phases.items()},
        "messages": messages,
        "seconds": f"{seconds:.0f}",
        "longest-wait": f"{max(killing.waits):.1f}s",
        **{name: killing.kills[name] for name in VICTIMS},
    }
    return Passed(NAME, seed, figures)
