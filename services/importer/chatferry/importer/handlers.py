"""How Kafka's records enter: the worker that the streaming runtime drives."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from chatferry.common.clock import Clock
from chatferry.common.entities import Entity
from chatferry.common.errors import OutageError
from chatferry.common.streaming.progress import Progress
from chatferry.common.streaming.records import Partition, RawRecord
from chatferry.common.telemetry.metrics import Metrics
from chatferry.importer.caller import Caller
from chatferry.importer.domain.standing import open_families
from chatferry.importer.flow import DRAINED_AT_ONCE, Importer
from chatferry.importer.limit import PART, halted
from chatferry.importer.ports import Families, ParkedView, Room

_STATES_EVERY_S, _RELOAD_EVERY_S, _COUNT_EVERY_S = 0.5, 30.0, 5.0
_SPARING = 50
_FRESH_FOR_S = 3.0
_LULL_S, _DRAINED_IN_A_LULL = 0.1, Room(100, 1024 * 1024)
_LONGEST_PUT_OFF_S, _DRAINED_AMID_FRESH = 1.0, Room(200, 2 * 1024 * 1024)
# What was put off for so long has so much time that nobody takes away.
_UNDISTURBED_S = 0.25


class Runtime(Protocol):
    """What the worker asks of the consumer that drives it."""

    def hold(self, topics: Collection[str]) -> None:
        """From now on read none of these topics, and read all others."""

    def leaving(self) -> bool:
        """Whether the work in hand should end, unfinished: its partitions are to be given back."""

    def fresh_waits(self) -> bool:
        """Whether records have come while idle work is in hand."""


class ImportWorker:
    """Port RecordWorker of the runtime. Delivers only families whose `set_open` is true; holds the others' topics."""

    def __init__(
        self, importer: Importer, caller: Caller, families: Families, parked: ParkedView, topics: Mapping[str, Entity]
    ) -> None:
        self._importer, self._caller, self._families, self._parked = importer, caller, families, parked
        self._topics = topics
        self._open: frozenset[str] = frozenset()
        self._halted: str | None = None
        self._delivered = self._drained = self._fresh_first_until = float("-inf")
        self._undisturbed_s = 0.0
        self._undisturbed_until: float | None = None
        self._next = {"states": 0.0, "reload": 0.0, "count": 0.0}

    def run_on(self, clock: Clock, metrics: Metrics, runtime: Runtime) -> None:
        """Bind to the runtime that was built around this worker."""
        self._clock, self._metrics, self._runtime = clock, metrics, runtime

    def hurried(self) -> bool:
        """No further call should be begun: partitions are to be given back, or fresh records wait for a drain."""
        now = self._clock.monotonic()
        # From the first call on: what is read before it is no progress.
        self._undisturbed_until = self._undisturbed_until or now + self._undisturbed_s
        return self._runtime.leaving() or (self._runtime.fresh_waits() and now >= self._undisturbed_until)

    async def rebalanced(self, owned: Mapping[Partition, int]) -> None:
        await self._importer.take_over(owned)
        await self._read_states(anew=True)

    async def deliver(self, records: Sequence[RawRecord], progress: Progress) -> None:
        wanted = [record for record in records if record.topic in self._open]
        if wanted:
            await self._importer.deliver(wanted, progress)
            self._delivered = self._clock.monotonic()
            self._fresh_first_until = float("-inf")

    async def idle(self) -> None:
        if self._is_time("states", _STATES_EVERY_S):
            await self._read_states()
        if self._is_time("reload", _RELOAD_EVERY_S):
            with self._sparing("reload"):
                await self._importer.reload_lines()
        if self._is_time("count", _COUNT_EVERY_S):
            with self._sparing("count"):
                for entity, count in (await self._parked.counts()).items():
                    self._metrics.parked.labels(entity).set(count)
        if (room := self._room_to_drain()) is not None:
            await self._drain(room)

    async def probe(self, away: OutageError) -> None:
        if away.part == "target":
            await self._caller.recheck()
            # What waits may be what the target fails on: tried before all else, it would bring the outage back before
            # anything that the target takes could show that there is none.
            self._fresh_first_until = self._clock.monotonic() + _LONGEST_PUT_OFF_S
        elif away.part == PART:
            # From here on the topics of what was stopped are held, and the others may go on.
            await self._read_states()
        else:
            await self._families.states()

    async def _drain(self, room: Room) -> None:
        put_off = self._clock.monotonic() - self._drained >= _LONGEST_PUT_OFF_S
        self._undisturbed_s, self._undisturbed_until = _UNDISTURBED_S if put_off else 0.0, None
        await self._importer.drain(self._clock, self._open, room)
        if put_off or not self.hurried():
            self._drained = self._clock.monotonic()

    def _room_to_drain(self) -> Room | None:
        """How much of what waits may be taken up now. While fresh records come, little, and not between two pieces of
        them, unless that was put off for long; and it ends when fresh ones come: a chat in which nothing failed does
        not wait for those in which something did."""
        now = self._clock.monotonic()
        if now < self._fresh_first_until:
            return None
        if now - self._delivered >= _FRESH_FOR_S:
            return DRAINED_AT_ONCE
        if now - self._delivered >= _LULL_S:
            return _DRAINED_IN_A_LULL
        return _DRAINED_AMID_FRESH if now - self._drained >= _LONGEST_PUT_OFF_S else None

    async def _read_states(self, *, anew: bool = False) -> None:
        states = await self._families.states()
        self._importer.diary.states(states)
        self._halted = halted(state.halted for state in states.values())
        opened = open_families(states)
        self._open = frozenset(topic for topic, entity in self._topics.items() if entity.family in opened)
        self._runtime.hold([topic for topic in self._topics if topic not in self._open])
        blocked = {name: state.blocked for name, state in states.items() if state.blocked and state.set_open}
        if blocked:
            await self._caller.unblock(blocked, anew=anew)

    def halted(self) -> str | None:
        """For the health check: why nothing of a family is delivered, until a person says that it may be."""
        return self._halted

    @contextmanager
    def _sparing(self, what: str) -> Iterator[None]:
        """What takes long because much waits is done the less often: it never takes more than a share of the time."""
        begun = self._clock.monotonic()
        yield
        ended = self._clock.monotonic()
        self._next[what] = max(self._next[what], ended + (ended - begun) * _SPARING)

    def _is_time(self, what: str, every_s: float) -> bool:
        now = self._clock.monotonic()
        if now < self._next[what]:
            return False
        self._next[what] = now + every_s
        return True
