"""One importer: the runtime, the worker and all of its parts as the service wires them, on simulated ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from tests.simulation.consumer import SimulatedBroker
from tests.simulation.log import SESSION_S, Group
from tests.simulation.loop import Host, LoopClock
from tests.simulation.plan import Plan
from tests.simulation.stores import SimulatedFamilies, SimulatedIds, SimulatedRecords, Store
from tests.simulation.target import SimulatedTarget, TargetState
from tests.simulation.waiting import SimulatedDeadLetters, SimulatedEvents, SimulatedParked

from chatferry.common.entities import ENTITIES
from chatferry.common.health import Health
from chatferry.common.streaming.consumer import ConsumerSettings, RecordConsumer
from chatferry.common.streaming.records import Partition
from chatferry.common.telemetry.metrics import Metrics
from chatferry.importer.caller import Caller, CallRules
from chatferry.importer.flow import Importer, Views
from chatferry.importer.gate import Gate
from chatferry.importer.handlers import ImportWorker
from chatferry.importer.limit import DeadLimit, DeadRules
from chatferry.importer.lines import Lines
from chatferry.importer.sending import Sender, SendRules, Surroundings
from chatferry.importer.settle import Books

if TYPE_CHECKING:
    from faststream.kafka import KafkaBroker

TOPICS = {f"p.{name}": ENTITIES[name] for name in ("chats", "chat_messages")}
DRAIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Outside:
    """What all processes share."""

    group: Group
    store: Store
    target: TargetState
    metrics: Metrics
    plan: Plan


class Process:
    """Starts at once; `on_end` hears what its main task raised, or None."""

    def __init__(self, name: str, outside: Outside, on_end: Callable[[Process, BaseException | None], None]) -> None:
        self.host = Host(name)
        self._outside, self._on_end = outside, on_end
        self._loop = outside.group.loop
        self.stopping = asyncio.Event()
        self.broker = SimulatedBroker(self.host, outside.group)
        main = self._loop.start(self.host, self._run())
        main.add_done_callback(self._ended)

    def _ended(self, main: asyncio.Task[None]) -> None:
        if self.host.alive and not main.cancelled():
            self._on_end(self, main.exception())

    async def _run(self) -> None:
        clock = LoopClock(self._loop)
        worker = self._worker(clock)
        settings = ConsumerSettings("g", tuple(TOPICS), max_records=6, idle_s=0.5, drain_s=DRAIN_S)
        consumer = RecordConsumer(cast("KafkaBroker", self.broker), settings, worker, clock, Health())
        worker.run_on(clock, self._outside.metrics, consumer)
        await consumer.run(self.stopping)

    def _worker(self, clock: LoopClock) -> ImportWorker:
        outside, store = self._outside, self._outside.store
        ask = partial(outside.group.wire.ask, self.host)
        learnt: dict[Partition, int] = {}
        records, parked = SimulatedRecords(store, ask), SimulatedParked(store, ask)
        dead, events = SimulatedDeadLetters(store, ask, learnt), SimulatedEvents(store, ask, learnt)
        families = SimulatedFamilies(store, ask)
        caller = Caller(SimulatedTarget(outside.target, ask), families, clock, outside.metrics, CallRules())
        rules = SendRules(
            lanes=2,
            batch_items={"chats": 2, "chat_messages": 3},
            retry_delays_s=(1.0, 2.0),
            may_pass_dead=outside.plan.may_pass_dead,
            dead=DeadRules(1.0, in_a_row=outside.plan.dead_in_a_row),
        )
        lines, gate = Lines(rules.longest_delay_s()), Gate(records, dead, may_pass_dead=outside.plan.may_pass_dead)
        ids, limit = SimulatedIds(store, ask), DeadLimit(families, rules.dead)
        books = Books(records, records, ids, parked, dead, events, outside.metrics, limit)
        around = Surroundings(clock, outside.group.chance.random, lambda: self.stopping.is_set() or worker.hurried())
        sender = Sender(caller, lines, rules, around)
        importer = Importer("p", TOPICS, Views(records, parked, dead, dead), books, (sender, gate, lines))
        worker = ImportWorker(importer, caller, families, parked, TOPICS)
        return worker

    def stop(self) -> None:
        """Ask it to end."""
        with self._loop.on(self.host):
            self.stopping.set()

    def kill(self) -> None:
        """End it at once; the group finds out when the session ends."""
        self._loop.kill(self.host)
        consumer = self.broker.consumer
        if consumer is not None:
            self._outside.group.expire_after(SESSION_S, consumer.name, lambda: True)

    def freeze(self, seconds: float) -> None:
        """Stand still; put out of the group when that lasts longer than a session."""
        self.host.frozen = True
        consumer = self.broker.consumer
        with self._loop.on(self._loop.outside):
            self._loop.call_later(seconds, self._thaw)
        if consumer is not None:
            self._outside.group.expire_after(SESSION_S, consumer.name, lambda: self.host.frozen)

    def _thaw(self) -> None:
        self.host.frozen = False
        consumer, group = self.broker.consumer, self._outside.group
        if consumer is not None and consumer.name not in group.members:
            group.wire.tell(self.host, "heartbeat: unknown member", consumer.rejoin)
