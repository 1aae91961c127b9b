"""One schedule from its plan to its end: importers, what goes wrong, and everybody else who writes meanwhile."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.simulation.log import Group, Log
from tests.simulation.loop import Host, Loop, running
from tests.simulation.outsiders import Outsiders
from tests.simulation.plan import Plan
from tests.simulation.process import DRAIN_S, TOPICS, Outside, Process
from tests.simulation.promises import Promises
from tests.simulation.stores import BrokenPromiseError, Store
from tests.simulation.target import TargetState
from tests.simulation.wire import Happenings, Wire

from chatferry.common.errors import OutageError
from chatferry.common.telemetry.metrics import Metrics
from chatferry.importer.domain.standing import FamilyState
from chatferry.importer.ports import Trouble

_SCRIPT_FIRST, _RESTART_S, _MOST_IMPORTERS = 0.12, 1.0, 3
_LONGEST_S, _MOST_REQUESTS = 300.0, 6_000


@dataclass(slots=True)
class Figures:
    """What schedules were made of."""

    schedules: int = 0
    requests: int = 0
    faults: int = 0
    records: int = 0
    dead: int = 0
    rebalances: int = 0
    seconds: float = 0.0

    def add(self, world: World) -> None:
        """Count one more."""
        self.schedules += 1
        self.requests += world.wire.count
        self.faults += world.wire.struck
        self.records += sum(map(len, world.log.records.values()))
        self.dead += len(world.store.dead)
        self.rebalances += world.group.generation
        self.seconds += world.loop.time()


@dataclass
class World:
    """`run` raises BrokenPromiseError. `trace`: what happened, if anybody wants to know."""

    plan: Plan
    metrics: Metrics
    trace: list[str] | None = None
    processes: list[Process] = field(default_factory=list)
    _starting: int = 0
    _begun: int = 0
    _rested_until: float = 0.0
    _ending: bool = False

    def __post_init__(self) -> None:
        self.loop = Loop()  # type: ignore[abstract]
        self.chance = random.Random(self.plan.seed * 2 + 1)
        self.store = Store()
        self.promises = Promises(self.store, self.plan)
        self.store.watch = self.promises.written
        self.target = self.promises.target = TargetState(self.promises.created, self.plan.holds)
        self.log = self.promises.log = Log(tuple(TOPICS), self.promises.committed)
        happenings = Happenings(self._kill, self._freeze, self._away, self.say if self.trace is not None else None)
        self.wire = Wire(self.loop, self.chance, {f.at: f for f in self.plan.faults}, happenings)
        self.group = Group(self.log, self.wire, self.chance, DRAIN_S)
        self.outsiders = Outsiders(self.store, self.log, self.promises, self.wake)
        outside = Outside(self.group, self.store, self.target, self.metrics, self.plan)
        self._new = partial(Process, outside=outside, on_end=self._ended)
        self.store.families["chats"] = FamilyState(set_open=True, blocked=None)

    def say(self, who: str, what: str) -> None:
        """A line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.loop.time():9.3f} {who:9} {what}")

    def run(self) -> None:
        """The whole schedule."""
        with running(self.loop):
            try:
                self._play()
            finally:
                for process in self.processes:
                    self.loop.kill(process.host)

    def _play(self) -> None:
        self._expect_errors()
        for _ in range(self.plan.importers):
            self._start()
        self._until_settled(list(self.plan.steps))
        if self.plan.replayed:
            self._replay_all()
        self._stop_all()
        if self.promises.unsettled() is not None:
            # One whose partitions were lost long ago took a parent with its last breath: the next importer goes on.
            self._ending = False
            self._start()
            self._until_settled([])
            self._stop_all()
        self.promises.at_the_end()

    def _expect_errors(self) -> None:
        for (chat, number), error in self.plan.errors:
            key = f"source:chat:msg:{number * 100 + chat}" if number else f"source:chat:{chat}"
            self.target.errors[key] = error

    def _until_settled(self, steps: list[Any]) -> None:
        steps.reverse()
        while True:
            self.loop.run_ready()
            self._look()
            may_step = steps and self.loop.time() >= self._rested_until
            if may_step and (not self.wire.pending or self.chance.random() < _SCRIPT_FIRST):
                self._step(steps.pop())
            elif self.wire.pending:
                self.wire.step()
            elif not steps and self._settled():
                return
            elif not self.loop.advance():
                raise BrokenPromiseError("nobody waits for anything, and not all is done")

    def _settled(self) -> bool:
        if self.outsiders.flush() or self._starting or self.wire.floating or not self.group.quiet:
            return False
        if self.target.trouble is not None or self.target.behind or self.wire.away():
            return False
        if any(process.host.frozen for process in self.processes):
            return False
        if not self.store.families["chats"].set_open:
            self.outsiders.set_open(True)
            return False
        return not self.outsiders.resume() and self.promises.unsettled() is None

    def _look(self) -> None:
        for error in self.loop.wrong:
            raise BrokenPromiseError(f"an error that nobody awaited: {error!r}") from error
        if self.loop.time() > _LONGEST_S or self.wire.count > _MOST_REQUESTS:
            raise BrokenPromiseError(f"no end: {self.promises.unsettled() or 'all is done, and something goes on'}")

    def _step(self, step: Any) -> None:
        self.say("outside", f"{step.kind} {step.chat} {step.number}")
        if step.kind == "rest":
            self._rested_until = self.loop.time() + step.number
            with self.loop.on(self.loop.outside):
                self.loop.call_later(step.number, lambda: None)
        elif step.kind == "join":
            if len(self.processes) + self._starting < _MOST_IMPORTERS:
                self._start()
        elif step.kind == "stop":
            living = [process for process in self.processes if not process.host.frozen]
            if living:
                living[step.number % len(living)].stop()
        else:
            self.outsiders.step(step)

    def wake(self) -> None:
        """There is something new on a topic."""
        for process in self.processes:
            consumer = process.broker.consumer
            if consumer is not None:
                with self.loop.on(process.host):
                    consumer.wake()

    def _start(self) -> None:
        self._begun += 1
        name = f"importer{self._begun}"
        self.say(name, "starts")
        self.processes.append(self._new(name))

    def _start_later(self) -> None:
        self._starting += 1

        def start() -> None:
            self._starting -= 1
            self._start()

        with self.loop.on(self.loop.outside):
            self.loop.call_later(_RESTART_S, start)

    def _ended(self, process: Process, failure: BaseException | None) -> None:
        """Its main task is over: asked to, or because Kafka could not be reached."""
        self.processes.remove(process)
        self.say(process.host.name, f"ended {failure or ''}")
        if failure is not None and not isinstance(failure, OutageError):
            raise BrokenPromiseError(f"{process.host.name} ended by {failure!r}") from failure
        process.kill()
        if not self._ending:
            self._start_later()

    def _kill(self, host: Host) -> None:
        process = next((process for process in self.processes if process.host is host), None)
        if process is not None:
            self.say(host.name, "is killed")
            self.processes.remove(process)
            process.kill()
            self.wire.drop_some(host)
            if not self._ending:
                self._start_later()

    def _freeze(self, host: Host, seconds: float) -> None:
        process = next((process for process in self.processes if process.host is host), None)
        if process is not None and not host.frozen:
            process.freeze(seconds)

    def _away(self, part: str, seconds: float) -> None:
        if part != "target":
            self.wire.away_until[part] = self.loop.time() + seconds
            return
        kind = self.chance.choice((Trouble.SHAKY, Trouble.SHAKY, Trouble.THROTTLED, Trouble.DENIED, None))
        self.target.trouble, self.target.behind = kind, kind is None
        self.say("target", f"away: {kind or 'behind'} for {seconds} s")

        def back() -> None:
            self.target.trouble, self.target.behind = None, False

        with self.loop.on(self.loop.outside):
            self.loop.call_later(seconds, back)

    def _replay_all(self) -> None:
        """What was wrong at the target is mended, and the operator sends everything again."""
        self.target.errors.clear()
        while self.outsiders.replay():
            self._until_settled([])

    def _stop_all(self) -> None:
        self._ending = True
        for process in self.processes:
            process.stop()
        while True:
            self.loop.run_ready()
            self._look()
            if self.wire.pending:
                self.wire.step()
            elif not self.processes:
                return
            elif not self.loop.advance():
                raise BrokenPromiseError("a process does not end")
