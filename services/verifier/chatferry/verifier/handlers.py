"""How work enters: runs that want a verification are looked for, each is taken under a lease and verified."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chatferry.common.errors import LeaseLostError, OutageError
from chatferry.common.health import Health
from chatferry.common.telemetry.logs import about, get_logger
from chatferry.common.telemetry.traces import span
from chatferry.verifier.domain.facts import Run
from chatferry.verifier.flow import Verification
from chatferry.verifier.ports import Announcer, Leases, Moments, Reports, Runs

log = get_logger(__name__)
_AT_ONCE = 4
_LAST_EVENT_S = 5.0


@dataclass(frozen=True, slots=True)
class Desk:
    """What the watch works with. `begin` makes the verification of a run's report."""

    runs: Runs
    leases: Leases
    reports: Reports
    announcer: Announcer
    clock: Moments
    health: Health
    begin: Callable[[Run, str], Verification]


class _Task(NamedTuple):
    asked: Run
    task: asyncio.Task[None]


@dataclass(slots=True)
class Watch:
    """Looks for runs, verifies several at once, and never one that another process verifies. Lets go of one that does
    not ask any more."""

    desk: Desk
    poll_s: float
    lease_s: float
    _tasks: dict[str, _Task] = field(default_factory=dict)

    async def until(self, stopping: asyncio.Event) -> None:
        """Work until asked to stop. Raises OutageError of MongoDB, after letting go of every run."""
        announcing = asyncio.create_task(self._announce(stopping), name="verifier announces")
        try:
            while not stopping.is_set():
                await self._look()
                self.desk.health.outage("mongodb", None)
                if announcing.done() and not stopping.is_set():
                    announcing.result()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), self.poll_s)
        finally:
            await self._let_go()
            # Not in the middle of a send, as far as Kafka lets us: the event would go out once more.
            await asyncio.wait([announcing], timeout=_LAST_EVENT_S if stopping.is_set() else 0)
            await _ended(announcing)

    async def _announce(self, stopping: asyncio.Event) -> None:
        """Beside the work: a report waits for Kafka, a verification does not."""
        while not stopping.is_set():
            try:
                await self.desk.announcer.announce()
                self.desk.health.outage("kafka", None)
            except OutageError as away:
                if away.part == "mongodb":
                    raise
                log.warning("outage", part=away.part)
                self.desk.health.outage(away.part, away.sentence)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), self.poll_s)

    async def _look(self) -> None:
        wanted = {run.id: run for run in await self.desk.runs.wanted()}
        for run, (asked, task) in list(self._tasks.items()):
            if task.done():
                del self._tasks[run]
                task.result()
            elif run not in wanted or wanted[run].asked_at != asked.asked_at:
                await _ended(task)
                await self.desk.leases.release(run)
                del self._tasks[run]
        for run, asked in wanted.items():
            if run in self._tasks or len(self._tasks) >= _AT_ONCE:
                continue
            if await self.desk.leases.take(run):
                await self._begin(asked)

    async def _begin(self, run: Run) -> None:
        report = await self.desk.reports.claim(run)
        if report is None:
            await self.desk.leases.release(run.id)
            return
        task = asyncio.create_task(self._verify(run, report), name=f"verify {run.id}")
        self._tasks[run.id] = _Task(run, task)

    async def _verify(self, run: Run, report: str) -> None:
        with about(entity=run.family, run=run.id):
            await self._verify_under_lease(run, report)

    async def _verify_under_lease(self, run: Run, report: str) -> None:
        log.info("verify.started", family=run.family, phase=run.phase)
        try:
            with span("verify", run=run.id, family=run.family):
                written = await self._under_lease(run, self.desk.begin(run, report))
        except LeaseLostError:
            log.warning("verify.lease_lost")
            return
        await self.desk.leases.release(run.id)
        log.info("verify.ended", family=run.family, written=written)

    async def _under_lease(self, run: Run, verification: Verification) -> bool:
        """Renews the lease three times in its time; without it the work ends at once."""
        work = asyncio.create_task(verification.verify(), name=f"verification {run.id}")
        try:
            while True:
                await asyncio.wait([work], timeout=self.lease_s / 3)
                if work.done():
                    return work.result()
                if not await self.desk.leases.take(run.id):
                    raise LeaseLostError("another verifier has this run now")
        finally:
            await _ended(work)

    async def _let_go(self) -> None:
        tasks, self._tasks = self._tasks, {}
        for run, (_, task) in tasks.items():
            await _ended(task)
            try:
                await self.desk.leases.release(run)
            except OutageError:
                log.warning("verify.lease_kept", run=run)


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
