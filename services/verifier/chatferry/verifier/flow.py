"""The story of a verification: everything is read back after it was asked for, and one report is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from chatferry.common.entities import FAMILIES, Entity, Family
from chatferry.verifier.domain.errors import ReadBackError
from chatferry.verifier.domain.facts import Facts, Mismatch, Row, Run
from chatferry.verifier.domain.sample import Sample
from chatferry.verifier.ports import (
    Findings,
    Meter,
    Moments,
    Readings,
    Records,
    Reports,
    Runs,
    Source,
    Target,
    Verdicts,
)
from chatferry.verifier.steps.chats import Roots, enter
from chatferry.verifier.steps.compare import ROOTS, Comparer
from chatferry.verifier.steps.pages import look_at_pages
from chatferry.verifier.steps.report import MISMATCHES_SHOWN, Written, report_document
from chatferry.verifier.steps.target import Sides, check_sample, look_for_orphans
from chatferry.verifier.steps.walks import look_at_walks


@dataclass(frozen=True, slots=True)
class Parts:
    """The ports that one verification works with. `findings` and `verdicts` belong to its report."""

    runs: Runs
    records: Records
    source: Source
    readings: Readings
    target: Target
    findings: Findings
    verdicts: Verdicts
    reports: Reports
    meter: Meter
    clock: Moments


@dataclass(frozen=True, slots=True)
class Rules:
    """`sample`: records compared by content; `lanes`: chats at a time."""

    sample: int = 200
    seed: int = 1
    lanes: int = 4


@dataclass(slots=True)
class Verification:
    """One report of one run. Begun again after a crash it goes on: what was compared since it was asked for holds."""

    run: Run
    report: str
    parts: Parts
    rules: Rules
    facts: Facts = field(default_factory=Facts)
    _seconds: dict[str, float] = field(default_factory=dict)

    async def verify(self) -> bool:
        """True: the report is written; false: nobody asks for it any more. Raises OutageError."""
        family = FAMILIES[self.run.family]
        sampled = (family.children or (family.root,))[0]
        sample = Sample(self.rules.sample, self.rules.seed)
        comparer = Comparer(
            records=self.parts.records,
            target=self.parts.target,
            source=self.parts.source,
            findings=self.parts.findings,
            sample=sample,
            sampled_entity=sampled.name,
        )
        roots = Roots(family, comparer, self.parts.verdicts, self.rules.lanes, self.facts)
        await self._recall(family, sample)
        started = self.parts.clock.now()
        await self._roots_of_all(family, comparer)
        await self._walks_and_children(family, roots)
        await self._orphans(family, roots)
        with self._timed("sample"):
            await check_sample(sampled, sample.keys(), self.facts, self._sides())
        await self._counts(family)
        if not await self._write(family, roots, started):
            return False
        self.parts.meter.sample_mismatches(family.name, self.facts.sample_mismatches)
        return True

    async def _recall(self, family: Family, sample: Sample) -> None:
        """Take up the sample where an earlier process left it: keys only ever join the population."""
        for entity in family.children:
            async for keys in self.parts.verdicts.samples(entity):
                for key in keys:
                    sample.offer(key)

    async def _roots_of_all(self, family: Family, comparer: Comparer) -> None:
        """Compare every root entity whole: the family's own and those it stands on."""
        with self._timed("roots"):
            for entity in (family.root for family in _covered(family)):
                counts = await self.parts.source.counts(entity, FAMILIES[entity.family])
                if entity.family != family.name and not counts.extracted and not counts.source:
                    continue
                verdict = await comparer.compare(entity, None)
                enter(verdict, self.facts)
                if entity.family == family.name:
                    self.facts.roots_compared = verdict.tally.compared

    async def _walks_and_children(self, family: Family, roots: Roots) -> None:
        with self._timed("children"):
            for covered in _covered(family):
                get = await self.parts.readings.newest_get(covered)
                if get is not None and not get.whole:
                    self.facts.partial.append(covered.name)
                async for stored in self.parts.source.rows(covered):
                    rows = [row.since(get) for row in stored]
                    await look_at_walks(rows, covered, self.facts, self.parts.findings)
                    if covered is family:
                        await roots.finish(_roots_in(rows, family))
                    # After the comparison, which forgets what it knew of a root.
                    await look_at_pages(_roots_in(rows, covered), covered, self.parts.readings, self.parts.findings)

    async def _orphans(self, family: Family, roots: Roots) -> None:
        """Only when the target counts more than it listed under all known parents."""
        with self._timed("orphans"):
            for entity in family.children:
                try:
                    if await self.parts.target.count(entity) > roots.listed.get(entity.name, 0):
                        self.facts.full.extra += await look_for_orphans(entity, family.root, self._sides())
                except ReadBackError as unusable:
                    self.facts.unreadable += 1
                    await self.parts.findings.add([_unusable(entity, unusable)])

    async def _counts(self, family: Family) -> None:
        with self._timed("counts"):
            for covered in _covered(family):
                for entity in covered.entities:
                    counts = await self.parts.source.counts(entity, covered)
                    if covered is family or counts.extracted or counts.source:
                        counts.target = await self._count_at_target(entity)
                    self.facts.counts[entity.name] = counts
            letters, doubled = await self.parts.source.dead_letters(_covered(family))
            self.facts.dead_letters, self.facts.doubled_letters = letters, doubled

    async def _count_at_target(self, entity: Entity) -> int:
        try:
            return await self.parts.target.count(entity)
        except ReadBackError as unusable:
            self.facts.unreadable += 1
            await self.parts.findings.add([_unusable(entity, unusable)])
            return -1

    async def _write(self, family: Family, roots: Roots, started: datetime) -> bool:
        run = await self.parts.runs.read(self.run.id)
        if run is None or run.asked_at != self.run.asked_at:
            # Stopped meanwhile, perhaps asked for again: a report would say what the target had before.
            return False
        mismatches, by_check = await self.parts.reports.mismatches(self.report, MISMATCHES_SHOWN)
        self.facts.mismatches.update(by_check)
        table = roots.table()
        shown = {line.key for line in table} | {gap["key"] for gap in self.facts.gaps}
        for counts in self.facts.counts.values():
            shown |= {row["key"] for row in (counts.per_parent or {}).get("rows", ())}
        written = Written(
            report=self.report,
            started_at=started,
            finished_at=self.parts.clock.now(),
            mismatches=mismatches,
            names=await self.parts.reports.names(family.root, shown),
            table=table,
            seconds=self._seconds,
            seed=self.rules.seed,
        )
        await self.parts.reports.save(report_document(run, family, self.facts, written))
        return True

    def _sides(self) -> Sides:
        return Sides(self.parts.records, self.parts.target, self.parts.findings)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        begun = self.parts.clock.monotonic()
        yield
        self._seconds[step] = self.parts.clock.monotonic() - begun


def _roots_in(rows: list[Row], family: Family) -> list[Row]:
    """Rows of root records; a family's listing as a whole and strangers have rows of other keys."""
    root = family.root
    return [row for row in rows if row.entity == root.name and row.key.startswith(root.key_prefix)]


def _covered(family: Family) -> list[Family]:
    """The family, after those it stands on."""
    before = {covered.name: covered for name in family.needs for covered in _covered(FAMILIES[name])}
    return [*before.values(), family]


def _unusable(entity: Entity, unusable: ReadBackError) -> Mismatch:
    return Mismatch(entity.name, ROOTS, None, "read_back", "count", {"reason": unusable.sentence})
