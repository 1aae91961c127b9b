"""One run, from preflight to verdict (design §3). What is stored decides where it stands, never this process.

preflight    every prerequisite by name; one missing blocks the run before anything is started
get          list the roots, walk each, publish what is new or changed as soon as its walk is closed
set          the importers deliver; it is over when nothing waits
verify       the verifier compares and reports; its verdict is the run's

A run may instead send again what was sent: it has no phase, reads no portal, and leaves every state as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from chatferry.common.contracts.events import Phase, PhaseCompleted
from chatferry.common.entities import ENTITIES, FAMILIES, Entity, Family
from chatferry.common.errors import BlockedError, StoppedError
from chatferry.common.portal.preflight import Check
from chatferry.common.telemetry.logs import get_logger
from chatferry.common.telemetry.traces import span
from chatferry.extractor.ports import RunDocument, Waiting
from chatferry.extractor.steps.company import Company
from chatferry.extractor.steps.context import Drive, first_of, outlast
from chatferry.extractor.steps.intake import RootIntake
from chatferry.extractor.steps.listing import RecordListing, RootListing, listing_walks
from chatferry.extractor.steps.parts import Parts
from chatferry.extractor.steps.preflight import Preflight, missing, reads
from chatferry.extractor.steps.publisher import Publisher
from chatferry.extractor.steps.reader import Reader
from chatferry.extractor.steps.strangers import Strangers

log = get_logger(__name__)
Work = Callable[[], Awaitable[None]]
_LOOK_S, _COUNT_S = 0.25, 3.0


class RunFlow:
    """Drives one run under one lease."""

    def __init__(self, parts: Parts, drive: Drive, run: RunDocument, cloud: Sequence[Check]) -> None:
        self._parts, self._drive, self._run = parts, drive, run
        self._family: Family = FAMILIES[run["family"]]
        self._cloud = list(cloud)
        self._timings: dict[str, dict[str, datetime]] = dict(run.get("timings") or {})
        self._current: Phase | None = None
        self._reader: Reader | None = None

    async def drive(self) -> None:
        """From where the run stands to its end. BlockedError and StoppedError are its end too, with a sentence."""
        try:
            await self._in_company()
        except BlockedError as blocked:
            log.warning("run.blocked", code=blocked.code)
            await self._end("blocked", reason=blocked.sentence)
        except StoppedError as stopped:
            await self._stop(stopped)

    async def _in_company(self) -> None:
        parts = self._parts
        company = Company(
            self._family, self._drive, parts.runs, parts.tally, parts.events, self._stage, self._count_usage
        )
        try:
            async with asyncio.TaskGroup() as group:
                story = group.create_task(self._story())
                beside = [
                    group.create_task(company.listen(story)),
                    group.create_task(company.tell(self._run.get("progress_at"))),
                ]
                story.add_done_callback(lambda _: [one.cancel() for one in beside])
        except BaseExceptionGroup as failures:
            raise first_of(failures) from failures
        if story.cancelled():
            raise StoppedError

    def _stage(self) -> tuple[Phase | None, str]:
        return self._current, "requested" if self._current is None else "running"

    async def _story(self) -> None:
        self._drive.heed()
        if self._run["state"] == "requested":
            await self._preflight()
        if (entity := self._run["options"].get("republish")) is not None:
            await self._republish(ENTITIES[entity])
            await self._finish()
            return
        phases: Sequence[Phase] = self._run["phases"]
        await self._open_set("set" in phases)
        works: dict[Phase, Work] = {"get": self._get, "set": self._set, "verify": self._verify}
        for phase, work in works.items():
            if phase in phases and "finished_at" not in self._timings.get(phase, {}):
                await self._phase(phase, work)
        await self._finish()

    async def _stop(self, stopped: StoppedError) -> None:
        """What is published waits for the next run: the importers leave it from here on."""
        self._drive.halt.clear()
        await outlast(self._drive, self._count_usage)
        if "set" in self._run["phases"]:
            for family in (self._family.name, *self._family.needs):
                await self._note(family, set_open=False)
        log.info("run.stopped")
        await self._end("stopped", reason=stopped.sentence)

    async def _end(self, state: str, **fields: Any) -> None:
        await self._update(state=state, finished_at=self._drive.clock.now(), phase=None, **fields)

    async def _update(self, **fields: Any) -> None:
        await outlast(self._drive, lambda: self._parts.runs.update(self._drive.run, self._drive.lease.epoch, fields))

    async def _preflight(self) -> None:
        parts = self._parts
        asked = Preflight(
            self._family, self._drive, parts.runs, parts.families, parts.storage, parts.names, self._cloud
        )
        checks = await asked.checks(self._run)
        answers = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
        method = self._drive.method if reads(self._run) else await self._method_of_the_newest_get()
        await self._update(preflight=answers, method=method)
        if (blocked := missing(checks)) is not None:
            raise blocked
        await self._update(state="running", started_at=self._run.get("started_at") or self._drive.clock.now())

    async def _method_of_the_newest_get(self) -> str | None:
        """By which method that was read which this run does not read itself."""
        got = (await outlast(self._drive, lambda: self._parts.families.entity(self._family.name))).get("get") or {}
        newest = await outlast(self._drive, lambda: self._parts.runs.get(got.get("run", "")))
        return newest.get("method")

    async def _open_set(self, wanted: bool) -> None:
        """From here on the target may change: what was verified before is not what is there."""
        changed = {"VERIFIED_FLAG": False} if wanted else {}
        opened = {"set_run": self._drive.run} if wanted else {}
        await self._note(self._family.name, set_open=wanted, run=self._drive.run, **opened, **changed)
        if wanted:
            for need in self._family.needs:
                await self._note(need, set_open=True, **opened)

    async def _note(self, family: str, **fields: Any) -> None:
        epoch = self._drive.lease.epoch
        await outlast(self._drive, lambda: self._parts.families.set_entity(family, epoch, fields))

    async def _phase(self, phase: Phase, work: Work) -> None:
        started = self._timings.setdefault(phase, {}).setdefault("started_at", self._drive.clock.now())
        self._current = phase
        await self._update(phase=phase, timings=self._timings)
        with span(f"run.{phase}", run=self._drive.run, family=self._family.name):
            await work()
        finished = self._drive.clock.now()
        self._timings[phase]["finished_at"] = finished
        counts = await outlast(self._drive, lambda: self._parts.progress.counts(self._family))
        await self._tell(phase, finished, counts)
        await self._update(timings=self._timings, counts=counts)
        self._drive.metrics.duration.labels(self._family.name, phase).observe(
            (finished - started).total_seconds() * 1000
        )

    async def _tell(self, phase: Phase, finished: datetime, counts: dict[str, dict[str, int]]) -> None:
        """Before the end is stored: a repeat has the same ce_id, an event that was never sent has none."""
        if phase == "verify":
            return
        event = PhaseCompleted(
            run=self._drive.run, family=self._family.name, phase=phase, finished_at=finished, counts=counts
        )
        await outlast(self._drive, lambda: self._parts.events.completed(event))

    async def _get(self) -> None:
        drive, parts = self._drive, self._parts
        publisher = Publisher(self._family, drive, parts.publishing, parts.broker, parts.project)
        await self._note(self._family.name, get={"run": drive.run, "whole": False})
        await self._add(published=0)
        await publisher.sweep()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(publisher.run())
                group.create_task(self._read(publisher))
        except BaseExceptionGroup as failures:
            raise first_of(failures) from failures
        drive.heed()
        await publisher.sweep()
        drive.heed()
        await self._note(self._family.name, get={"run": drive.run, "whole": not self._is_test})

    async def _republish(self, entity: Entity) -> None:
        """For a subscriber that came late. Neither portal nor target has changed: what was verified before is still."""
        publisher = Publisher(
            self._family, self._drive, self._parts.publishing, self._parts.broker, self._parts.project
        )
        await self._add(published=0)
        place = self._run.get("republished")
        await publisher.again(entity, None if place is None else (place[0], place[1]))
        self._drive.heed()

    async def _read(self, publisher: Publisher) -> None:
        """A word to stop ends the reading; the publisher comes to the end of its chunk, and `_get` to its own."""
        with suppress(StoppedError):
            await self._read_all(publisher)
        await publisher.end()

    async def _read_all(self, publisher: Publisher) -> None:
        drive, parts, family = self._drive, self._parts, self._family
        asking = family.reading.strangers
        strangers = None if asking is None else Strangers(asking, drive, parts.records, parts.strangers)
        most = self._run["options"].get("test_limit")
        if family.reading.walk is None:
            await self._list_records(publisher, most)
        else:
            await self._list_roots(most)
            intake = RootIntake(family, drive, parts.records, parts.inventory, strangers, publisher)
            self._reader = Reader(parts.portal, drive, intake)
            await self._reader.read(intake.walks())
            if intake.method != drive.method:
                await self._update(method=intake.method)
            await outlast(drive, self._count_usage)
        if strangers is not None:
            await strangers.resolve(parts.portal, parts.webhooks[0])

    async def _count_usage(self) -> None:
        """What the reader has asked since it was counted last; a process that is killed takes five seconds with it."""
        if self._reader is not None:
            usage = {f"portal_usage.{name}": count for name, count in self._reader.uncounted().items()}
            await self._parts.runs.add(self._drive.run, self._drive.lease.epoch, usage)

    async def _add(self, **amounts: int) -> None:
        await outlast(self._drive, lambda: self._parts.runs.add(self._drive.run, self._drive.lease.epoch, amounts))

    async def _list_records(self, publisher: Publisher, most: int | None) -> None:
        """Once more when the list had not as many as it claimed: somebody came or went meanwhile."""
        drive, parts, family = self._drive, self._parts, self._family
        for _ in range(2):
            sink = RecordListing(family, drive, parts.records, parts.listings, most)
            await Reader(parts.portal, drive, sink).read(listing_walks(family, parts.webhooks))
            publisher.read_in(sink.reads)
            row = await outlast(drive, lambda: parts.listings.get_listing(family.root))
            if most is not None or not row.get("gap"):
                return

    async def _list_roots(self, most: int | None) -> None:
        if self._run.get("listed_at") is not None:
            return
        drive, parts, family = self._drive, self._parts, self._family
        sink = RootListing(family, drive, parts.roots, parts.records, most)
        await Reader(parts.portal, drive, sink).read(listing_walks(family, parts.webhooks))
        if most is None:
            epoch = drive.lease.epoch
            await outlast(drive, lambda: parts.roots.relist(family, drive.run, epoch, parts.webhooks))
        await self._update(listed_at=drive.clock.now())

    async def _set(self) -> None:
        progress, count_at, before = self._parts.progress, 0.0, -1
        while not await outlast(self._drive, lambda: progress.settled(self._family)):
            self._drive.heed()
            if self._drive.clock.monotonic() >= count_at:
                left = await outlast(self._drive, lambda: progress.waiting(self._family))
                if left.blocked is not None:
                    raise BlockedError(left.blocked, code="target.blocked")
                if left.waiting <= left.stuck:
                    return
                if left.waiting == before:
                    await self._rescue(left)
                before, count_at = left.waiting, self._drive.clock.monotonic() + _COUNT_S
            await self._drive.clock.sleep(_LOOK_S)
        got = (await outlast(self._drive, lambda: self._parts.families.entity(self._family.name))).get("get") or {}
        if got.get("whole"):
            await self._note(self._family.name, imported_run=self._drive.run)

    async def _rescue(self, left: Waiting) -> None:
        """Nothing moves, and the importers have read all there is: publications are gone, so they are made again."""
        drive, parts, family = self._drive, self._parts, self._family
        if left.waiting <= left.parked or not await outlast(drive, lambda: parts.backlog.empty(family)):
            return
        lost = await outlast(drive, lambda: parts.backlog.lost(family))
        log.warning("publications.lost", records=lost)
        await Publisher(family, drive, parts.publishing, parts.broker, parts.project).sweep()

    @property
    def _is_test(self) -> bool:
        return self._run["options"].get("test_limit") is not None

    async def _verify(self) -> None:
        asked_at = self._timings["verify"]["started_at"]
        while True:
            report = await outlast(self._drive, lambda: self._parts.progress.report(self._drive.run, asked_at))
            if report is not None:
                break
            self._drive.heed()
            await self._drive.clock.sleep(_LOOK_S)
        verified = bool(report["verified"])
        await self._update(verified=verified)
        self._run["verified"] = verified
        if not self._is_test:
            verified_run = self._drive.run if verified else None
            await self._note(self._family.name, VERIFIED_FLAG=verified, verified_run=verified_run)

    async def _finish(self) -> None:
        verified = self._run.get("verified")
        state = "completed" if verified is None else "verified" if verified else "incomplete"
        await self._end(state)
        log.info("run.finished", state=state)
