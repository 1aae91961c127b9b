"""How a run enters: a command on Kafka only wakes the driver up; the document in `runs` is the truth."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from chatferry.common.entities.reading import Understanding
from chatferry.common.errors import LeaseLostError, OutageError
from chatferry.common.portal.bucket import RedisRateBucket
from chatferry.common.portal.client import PortalClient
from chatferry.common.service import Context
from chatferry.common.telemetry.logs import about, get_logger
from chatferry.extractor.flow import RunFlow
from chatferry.extractor.ports import Lease, Leases, RunDocument, Runs
from chatferry.extractor.steps.context import Drive, Limits, ReadSequence, first_of
from chatferry.extractor.steps.parts import Parts
from chatferry.extractor.steps.preflight import ask_portal

log = get_logger(__name__)
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the driver works with. `parts` builds everything for a run whose portal client is known."""

    leases: Leases
    runs: Runs
    portal: Callable[[RedisRateBucket], PortalClient]
    bucket: RedisRateBucket
    parts: Callable[[PortalClient], Parts]
    limits: Limits
    lease_seconds: float


class Driver:
    """Takes the portal's lease when there is a run to drive, and drives it; one of all extractors does."""

    def __init__(self, workshop: Workshop, context: Context) -> None:
        self._shop, self._context = workshop, context
        self._wake = asyncio.Event()
        self._left = set[str]()

    def wake(self) -> None:
        """Look for a run at once."""
        self._wake.set()

    async def work(self) -> None:
        """Until the process is asked to stop. OutageError when a part it needs is away."""
        while not self._context.stopping.is_set():
            run = await self._shop.runs.next()
            self._context.reached("mongodb")
            if run is None or not await self._drive(run):
                await self._rest()

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await self._wake.wait()
        self._wake.clear()

    async def _drive(self, run: RunDocument) -> bool:
        """False when another extractor drives the portal."""
        with about(entity=run.get("family"), run=run["_id"]):
            return await self._drive_leased(run)

    async def _drive_leased(self, run: RunDocument) -> bool:
        lease = await self._shop.leases.acquire(run["portal"])
        if lease is None:
            return False
        try:
            # Whoever had the lease before may have ended it since it was looked for.
            run = await self._shop.runs.get(run["_id"])
            if run.get("state") not in ("requested", "running"):
                return True
            async with asyncio.TaskGroup() as group:
                story = group.create_task(self._story(run, lease))
                keeper = group.create_task(self._keep(lease, story))
                story.add_done_callback(lambda _: keeper.cancel())
        except BaseExceptionGroup as failures:
            failure = first_of(failures)
            if isinstance(failure, OutageError):
                # Said at once: letting go of the lease takes its time too.
                self._context.health.outage(failure.part, failure.sentence)
                self._left.discard(failure.part)
            # OverflowError: the epoch's read numbers are used up; the next lease has a new epoch.
            if not isinstance(failure, LeaseLostError | OverflowError):
                raise failure from failures
            log.warning("lease.over", error=type(failure).__name__)
        finally:
            self._context.reached(*self._left)
            self._left.clear()
            with suppress(LeaseLostError):
                await self._shop.leases.release(lease)
        return True

    async def _keep(self, lease: Lease, story: asyncio.Task[None]) -> None:
        """Renew the lease; when the process is asked to stop, end the story where it stands."""
        pause = self._shop.lease_seconds / 3
        while not story.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._context.stopping.wait()
            if self._context.stopping.is_set():
                story.cancel()
                return
            await self._shop.leases.renew(lease)

    async def _story(self, run: RunDocument, lease: Lease) -> None:
        options = run["options"]
        client = self._shop.portal(self._shop.bucket.limited_to(options.get("max_rate")))
        view = await ask_portal(client, run)
        if view is not None:
            self._context.reached("portal", "redis")
        parts = self._shop.parts(client)
        told = Understanding(view.offset if view else run.get("portal_offset", "+00:00"))
        if view is not None:
            await self._shop.runs.update(run["_id"], lease.epoch, {"portal_offset": view.offset})
        rng = random.Random()  # noqa: S311 - jitter
        drive = Drive(
            run=run["_id"],
            lease=lease,
            sequence=ReadSequence(lease.epoch),
            told=told,
            limits=self._shop.limits,
            clock=self._context.clock,
            metrics=self._context.metrics,
            health=self._context.health,
            jitter=lambda: rng.uniform(0.8, 1.2),
            newest=options.get("test_limit"),
            method=view.method if view else run.get("method"),
            left=self._left,
        )
        if run.get("stop"):
            drive.halt.set()
        await RunFlow(parts, drive, run, view.checks if view else ()).drive()
