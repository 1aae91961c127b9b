"""One run, from preflight to verdict (design §3). What is stored decides where it stands, never this process.

preflight    every prerequisite by name; one missing blocks the run before anything is started
get          list the roots, walk each, publish what is new or changed as soon as its walk is closed
set          the importers deliver; it is over when nothing waits
verify       the verifier compares and reports; its verdict is the run's
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chatferry.common.contracts.events import Phase, PhaseCompleted
from chatferry.common.entities import FAMILIES, Family
from chatferry.common.errors import BlockedError
from chatferry.common.portal.preflight import Check
from chatferry.common.telemetry.logs import get_logger
from chatferry.common.telemetry.traces import span
from chatferry.extractor.ports import (
    Backlog,
    Broker,
    Events,
    FamilyStates,
    Inventory,
    Listings,
    Portal,
    Progress,
    Records,
    Roots,
    RunDocument,
    Runs,
    Storage,
    StrangerStore,
    Waiting,
)
from chatferry.extractor.steps.context import Drive, first_of, outlast
from chatferry.extractor.steps.intake import RootIntake
from chatferry.extractor.steps.listing import RecordListing, RootListing, listing_walks
from chatferry.extractor.steps.publisher import Publisher, Store
from chatferry.extractor.steps.reader import Reader
from chatferry.extractor.steps.strangers import Strangers

log = get_logger(__name__)
Work = Callable[[], Awaitable[None]]
_LOOK_S, _COUNT_S = 0.25, 3.0
_TARGET_CHECK_S = 30.0


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a drive needs besides its lease."""

    portal: Portal
    webhooks: Sequence[int]
    runs: Runs
    families: FamilyStates
    records: Records
    roots: Roots
    inventory: Inventory
    listings: Listings
    strangers: StrangerStore
    publishing: Store
    broker: Broker
    progress: Progress
    storage: Storage
    backlog: Backlog
    events: Events
    project: str


class RunFlow:
    """Drives one run under one lease."""

    def __init__(self, parts: Parts, drive: Drive, run: RunDocument, cloud: Sequence[Check]) -> None:
        self._parts, self._drive, self._run = parts, drive, run
        self._family: Family = FAMILIES[run["family"]]
        self._cloud = list(cloud)
        self._timings: dict[str, dict[str, datetime]] = dict(run.get("timings") or {})

    async def drive(self) -> None:
        """From where the run stands to its end. BlockedError is its end too, with a sentence."""
        try:
            if self._run["state"] == "requested":
                await self._preflight()
            phases: Sequence[Phase] = self._run["phases"]
            await self._open_set("set" in phases)
            works: dict[Phase, Work] = {"get": self._get, "set": self._set, "verify": self._verify}
            for phase, work in works.items():
                if phase in phases and "finished_at" not in self._timings.get(phase, {}):
                    await self._phase(phase, work)
            await self._finish()
        except BlockedError as blocked:
            log.warning("run.blocked", run=self._drive.run, code=blocked.code)
            await self._update(state="blocked", reason=blocked.sentence, finished_at=self._drive.clock.now())

    async def _update(self, **fields: Any) -> None:
        await outlast(self._drive, lambda: self._parts.runs.update(self._drive.run, self._drive.lease.epoch, fields))

    async def _preflight(self) -> None:
        checks = [*await self._parts.storage.checks(self._family), *self._cloud, await self._target_check()]
        auth = [check for check in checks if check.name.startswith("auth.")]
        checks.append(Check("auth.done", all(check.ok for check in auth), "portal and target let us in"))
        for need in self._family.needs:
            state = await self._parts.families.entity(need)
            detail = f"{need} were imported" if state.get("imported_run") else f"run `chatferry migrate {need}` first"
            checks.append(Check(f"{need}.import.completed", bool(state.get("imported_run")), detail))
        answers = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
        await self._update(preflight=answers, method=self._drive.method)
        missing = next((check for check in checks if not check.ok), None)
        if missing is not None:
            raise BlockedError(f"{missing.name}: {missing.detail}", code=missing.name)
        await self._update(state="running", started_at=self._drive.clock.now())

    async def _target_check(self) -> Check:
        """The importer answers this one: the extractor never talks to the target."""
        name = f"auth.target.import.{self._family.name}"
        if not {"set", "verify"} & set(self._run["phases"]):
            return Check(name, True, "not asked: nothing is sent to the target in this run")
        deadline = self._drive.clock.monotonic() + _TARGET_CHECK_S
        while self._drive.clock.monotonic() < deadline:
            answer = (await self._parts.runs.get(self._drive.run)).get("target_check")
            if answer is not None:
                return Check(name, answer["ok"], answer["detail"])
            await self._drive.clock.sleep(_LOOK_S)
        return Check(name, False, "no importer answered; start one (`chatferry up`) and ask again")

    async def _open_set(self, wanted: bool) -> None:
        """From here on the target may change: what was verified before is not what is there."""
        changed = {"VERIFIED_FLAG": False} if wanted and not self._is_test else {}
        await self._note(self._family.name, set_open=wanted, run=self._drive.run, **changed)
        if wanted:
            for need in self._family.needs:
                await self._note(need, set_open=True)

    async def _note(self, family: str, **fields: Any) -> None:
        epoch = self._drive.lease.epoch
        await outlast(self._drive, lambda: self._parts.families.set_entity(family, epoch, fields))

    async def _phase(self, phase: Phase, work: Work) -> None:
        started = self._timings.setdefault(phase, {}).setdefault("started_at", self._drive.clock.now())
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
        await publisher.sweep()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(publisher.run())
                group.create_task(self._read(publisher))
        except BaseExceptionGroup as failures:
            raise first_of(failures) from failures
        await publisher.sweep()
        await self._update(published=publisher.published)
        await self._note(self._family.name, get={"run": drive.run, "whole": not self._is_test})

    async def _read(self, publisher: Publisher) -> None:
        drive, parts, family = self._drive, self._parts, self._family
        strangers = Strangers(drive, parts.records, parts.strangers)
        most = self._run["options"].get("test_limit")
        if family.reading.walk is None:
            await self._list_records(most)
        else:
            await self._list_roots(most)
            intake = RootIntake(family, drive, parts.records, parts.inventory, strangers, publisher)
            reader = Reader(parts.portal, drive, intake)
            await reader.read(intake.walks())
            usage = {"batches": reader.batches, "commands": reader.sent, "useful": reader.useful}
            await self._update(portal_usage=usage)
        await strangers.resolve(parts.portal, parts.webhooks[0])
        await publisher.end()

    async def _list_records(self, most: int | None) -> None:
        """Once more when the list had not as many as it claimed: somebody came or went meanwhile."""
        drive, parts, family = self._drive, self._parts, self._family
        for _ in range(2):
            sink = RecordListing(family, drive, parts.records, parts.listings, most)
            await Reader(parts.portal, drive, sink).read(listing_walks(family, parts.webhooks))
            row = await outlast(drive, lambda: parts.listings.get_listing(family.root))
            if most is not None or not row.get("gap"):
                return

    async def _list_roots(self, most: int | None) -> None:
        if self._run.get("listed_at") is not None:
            return
        drive, parts, family = self._drive, self._parts, self._family
        sink = RootListing(family, drive, parts.roots, most)
        await Reader(parts.portal, drive, sink).read(listing_walks(family, parts.webhooks))
        if most is None:
            epoch = drive.lease.epoch
            await outlast(drive, lambda: parts.roots.relist(family, drive.run, epoch, parts.webhooks))
        await self._update(listed_at=drive.clock.now())

    async def _set(self) -> None:
        progress, count_at, before = self._parts.progress, 0.0, -1
        while not await outlast(self._drive, lambda: progress.settled(self._family)):
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
        log.warning("publications.lost", run=drive.run, records=lost)
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
        await self._update(state=state, finished_at=self._drive.clock.now(), phase=None)
        log.info("run.finished", run=self._drive.run, state=state)
