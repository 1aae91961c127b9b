"""Reading: batches of 50 commands filled with pages of many walks, several batches under way (design §3.3)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol

from chatferry.common.entities.reading import Command, Harvest, Refusal, Walk
from chatferry.common.telemetry.traces import span
from chatferry.extractor.ports import Portal
from chatferry.extractor.steps.context import Drive, first_of, outlast


@dataclass(slots=True)
class Active:
    """A walk that is being read through one webhook. `entity`: whose pages; `not_before`: monotonic seconds."""

    name: str
    walk: Walk
    webhook: int
    method: str
    entity: str
    attempts: int = 0
    not_before: float = 0.0
    label: str = ""


@dataclass(frozen=True, slots=True)
class Reaped:
    """One walk's part of a batch, with the number and the length of the request that brought it."""

    active: Active
    harvest: Harvest
    read_seq: int
    duration_ms: int


# A batch's answer is held whole, several at a time, and parsed it is some times as large.
_ANSWER_BYTES, _FEWEST, _FORGET = 6 * 1024 * 1024, 4, 0.8
_LONGEST_S = 1.0
Plans = list[tuple[Active, list[Command]]]


class Sink(Protocol):
    """Takes in what was read. Only after it returns does a walk go on."""

    async def take(self, reaped: Sequence[Reaped]) -> list[Active]:
        """Store the pages and move the walks' stored positions. Returns walks to begin anew. OutageError: once more."""

    async def failed(self, active: Active, refusal: Refusal) -> Active | None:
        """A walk that was refused for good, or too often. Another way to go on (another webhook), or None."""


@dataclass(slots=True)
class Reader:
    """Reads walks until all have ended. `sent` and `useful` count commands."""

    portal: Portal
    drive: Drive
    sink: Sink
    batches: int = 0
    sent: int = 0
    useful: int = 0
    _ready: deque[Active] = field(default_factory=deque)
    _later: list[Active] = field(default_factory=list)
    _flying: int = 0
    _labels: int = 0
    _counted: dict[str, int] = field(default_factory=dict)
    _exhausted: bool = False
    _bytes: float = 0.0
    """What one command brought lately, in bytes: the largest average, slowly forgotten."""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self, walks: AsyncIterator[Active]) -> None:
        """Returns when every walk has ended or failed. What stops the run (LeaseLostError, StoppedError, …) is raised.

        When the run is to end, what is on its way is taken in first.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._feed(walks))
                for _ in range(self.drive.limits.concurrency):
                    group.create_task(self._work())
        except BaseExceptionGroup as failures:
            raise first_of(failures) from failures
        self.drive.heed()

    def uncounted(self) -> dict[str, int]:
        """Batches and commands since this was asked last."""
        now = {"batches": self.batches, "commands": self.sent, "useful": self.useful}
        more = {name: count - self._counted.get(name, 0) for name, count in now.items()}
        self._counted = now
        return more

    async def _feed(self, walks: AsyncIterator[Active]) -> None:
        async for active in walks:
            async with self._changed:
                await self._changed.wait_for(lambda: self._halted or self._open < self.drive.limits.open_walks)
                if self._halted:
                    return
                self._ready.append(active)
                self._changed.notify_all()
        async with self._changed:
            self._exhausted = True
            self._changed.notify_all()

    @property
    def _halted(self) -> bool:
        return self.drive.halt.is_set()

    @property
    def _open(self) -> int:
        return len(self._ready) + len(self._later) + self._flying

    async def _work(self) -> None:
        while (chosen := await self._choose()) is not None:
            try:
                await self._batch(chosen)
            finally:
                async with self._changed:
                    self._flying -= len(chosen)
                    self._changed.notify_all()

    async def _choose(self) -> list[Active] | None:
        """Walks for the next batch, all of one webhook; None when nothing is left to do.

        A batch that could be fuller soon is waited for: requests are what the portal counts.
        """
        async with self._changed:
            while True:
                self._wake()
                if self._halted:
                    self._changed.notify_all()
                    return None
                if self._ready and (self._full or (self._flying == 0 and not self._feeding)):
                    return self._pick()
                if self._exhausted and self._open == 0:
                    self._changed.notify_all()
                    return None
                await self._wait_for_change()

    @property
    def _full(self) -> bool:
        webhook = self._ready[0].webhook
        wanted = sum(active.walk.needs() for active in self._ready if active.webhook == webhook)
        return wanted >= self._room

    @property
    def _room(self) -> int:
        """Commands for a batch: as many as are allowed, fewer when the last answers were large."""
        return max(_FEWEST, min(self.drive.limits.batch_commands, int(_ANSWER_BYTES / max(self._bytes, 1.0))))

    @property
    def _feeding(self) -> bool:
        return not self._exhausted and self._open < self.drive.limits.open_walks

    async def _wait_for_change(self) -> None:
        due = min((active.not_before for active in self._later), default=None)
        # Not for long: nobody says that the run is to end.
        wait = _LONGEST_S if due is None else min(_LONGEST_S, max(0.01, due - self.drive.clock.monotonic()))
        try:
            async with asyncio.timeout(wait):
                await self._changed.wait()
        except TimeoutError:
            return

    def _wake(self) -> None:
        now = self.drive.clock.monotonic()
        self._ready.extend(active for active in self._later if active.not_before <= now)
        self._later = [active for active in self._later if active.not_before > now]

    def _pick(self) -> list[Active]:
        webhook, room = self._ready[0].webhook, self._room
        chosen: list[Active] = []
        kept: deque[Active] = deque()
        while self._ready:
            active = self._ready.popleft()
            if active.webhook == webhook and active.walk.needs() <= room:
                room -= active.walk.needs()
                chosen.append(active)
            else:
                kept.append(active)
        self._ready = kept
        self._flying += len(chosen)
        return chosen

    def _plan(self, chosen: Sequence[Active]) -> Plans:
        spare = max(0, self._room - sum(active.walk.needs() for active in chosen))
        plans: Plans = []
        for left, active in zip(range(len(chosen), 0, -1), chosen, strict=True):
            self._labels += 1
            room = active.walk.needs() + spare // left
            commands = [replace(one, entity=active.entity) for one in active.walk.plan(room, f"w{self._labels}")]
            spare -= max(0, len(commands) - active.walk.needs())
            plans.append((active, commands))
        return plans

    async def _batch(self, chosen: Sequence[Active]) -> None:
        plans = self._plan(chosen)
        commands = [command for _, planned in plans for command in planned]
        with span("portal.batch", commands=len(commands), walks=len(chosen)):
            reaped = await outlast(self.drive, lambda: self._ask(chosen[0].webhook, plans, commands))
            again = await outlast(self.drive, lambda: self.sink.take(reaped))
        self._ready.extend(again)
        for one in reaped:
            await self._return(one)

    async def _ask(self, webhook: int, plans: Plans, commands: Sequence[Command]) -> list[Reaped]:
        read_seq, started = self.drive.sequence.take(), perf_counter()
        answers = await self.portal.batch(webhook, commands)
        duration_ms = int((perf_counter() - started) * 1000)
        self.batches, self.sent = self.batches + 1, self.sent + len(commands)
        sizes = [answer.size for answer in answers if answer.size] or [0]
        self._bytes = max(sum(sizes) / len(sizes), self._bytes * _FORGET)
        reaped, position = [], 0
        for active, planned in plans:
            part = answers[position : position + len(planned)]
            position += len(planned)
            reaped.append(Reaped(active, active.walk.absorb(part), read_seq, duration_ms))
        useful = sum(one.harvest.used for one in reaped)
        self.useful += useful
        self.drive.metrics.portal_commands.labels("useful").inc(useful)
        self.drive.metrics.portal_commands.labels("vain").inc(len(commands) - useful)
        return reaped

    async def _return(self, one: Reaped) -> None:
        active, refusal = one.active, one.harvest.refusal
        if refusal is None or one.harvest.pages:
            # Attempts are those of one page: a walk that gets on has failed at none.
            active.attempts = 0
        if refusal is None:
            if not one.harvest.ended:
                self._ready.append(active)
        elif refusal.later_s is not None:
            self._postpone(active, refusal.later_s)
        elif refusal.transient and active.attempts + 1 < len(self.drive.limits.retry_after_s):
            active.attempts += 1
            self.drive.metrics.retries.labels(active.entity).inc()
            self._postpone(active, self.drive.limits.retry_after_s[active.attempts] * self.drive.jitter())
        else:
            other = await outlast(self.drive, lambda: self.sink.failed(active, refusal))
            if other is not None:
                self._ready.append(other)

    def _postpone(self, active: Active, seconds: float) -> None:
        active.not_before = self.drive.clock.monotonic() + seconds
        self._later.append(active)
