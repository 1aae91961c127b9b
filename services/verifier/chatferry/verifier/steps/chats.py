"""Root records one by one: children compared, unless they were since the verification was asked for, and counted."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from chatferry.common.entities import Entity, Family
from chatferry.verifier.domain.comparison import Fingerprint
from chatferry.verifier.domain.errors import ReadBackError
from chatferry.verifier.domain.facts import ChatLine, Facts, Mismatch, Row, Stored, Verdict
from chatferry.verifier.ports import Findings, Target, Verdicts
from chatferry.verifier.steps.ahead import in_parallel
from chatferry.verifier.steps.compare import Comparer, Parent

_SHOWN_BY_SIZE = 200
_SHOWN_DIFFERING = 1_000
_ALTERED_SHOWN = 100
_NOTHING = Stored(Fingerprint(0, 0, 0, 0), 0, 0)


@dataclass(slots=True)
class Roots:
    """Works through root records, so many at once. `listed`: records that the target listed under all of them."""

    family: Family
    comparer: Comparer
    verdicts: Verdicts
    lanes: int
    facts: Facts
    listed: dict[str, int] = field(default_factory=dict)
    _largest: list[tuple[int, int, ChatLine]] = field(default_factory=list)
    _differing: list[ChatLine] = field(default_factory=list)

    async def finish(self, rows: Sequence[Row]) -> None:
        """Compare what is not compared yet, count everything, and enter it into the facts."""
        for entity in self.family.children:
            stored = await self.comparer.records.stored(entity, [row.seq for row in rows])
            known = await self.verdicts.known(entity, [row.key for row in rows])
            jobs = [
                partial(self._finish, entity, row, stored.get(row.seq, _NOTHING), known.get(row.key)) for row in rows
            ]
            await in_parallel(jobs, self.lanes)

    def table(self) -> list[ChatLine]:
        """The largest ones and all that differ, by size."""
        lines = {line.key: line for _, _, line in self._largest} | {line.key: line for line in self._differing}
        return sorted(lines.values(), key=lambda line: (-line.stored, line.seq))

    @property
    def findings(self) -> Findings:
        """Where mismatches go."""
        return self.comparer.findings

    @property
    def target(self) -> Target:
        """The target's read-back."""
        return self.comparer.target

    async def _finish(self, entity: Entity, row: Row, stored: Stored, known: Verdict | None) -> None:
        verdict = known
        if verdict is None or not verdict.clean or verdict.fingerprint != stored.fingerprint:
            verdict = await self.comparer.compare(entity, Parent(row.key, row.seq))
            await self.verdicts.keep(verdict)
        enter(verdict, self.facts)
        self.listed[entity.name] = self.listed.get(entity.name, 0) + verdict.tally.target
        self._line(row, stored, verdict, await self._count(entity, row, stored))

    async def _count(self, entity: Entity, row: Row, stored: Stored) -> tuple[int | None, int]:
        """What the target counts under the root, and whether any count differs from it (1) or not (0)."""
        try:
            there = await self.target.count(entity, row.key)
        except ReadBackError:
            there = None
        read = row.read if len(self.family.children) == 1 else stored.fingerprint.stored
        if read == stored.fingerprint.stored and there == stored.fingerprint.stored - stored.skipped:
            return there, 0
        detail = {"portal": read, "stored": stored.fingerprint.stored, "imported": stored.imported, "target": there}
        await self.findings.add([Mismatch(entity.name, row.key, row.key, "count", "", detail)])
        return there, 1

    def _line(self, row: Row, stored: Stored, verdict: Verdict, count: tuple[int | None, int]) -> None:
        tally, (there, differs) = verdict.tally, count
        differences = tally.missing + tally.extra + tally.different + verdict.unmapped + differs
        differences += (verdict.unreadable is not None) + (not row.closed) + (row.gap != 0)
        line = ChatLine(
            key=row.key,
            seq=row.seq,
            claimed=row.claimed,
            listed=row.listed,
            stored=stored.fingerprint.stored,
            target=there,
            gap=row.gap,
            state=row.state,
            differences=differences,
        )
        self.facts.lines_total += 1
        if differences and len(self._differing) < _SHOWN_DIFFERING:
            self._differing.append(line)
        entry = (line.stored, -line.seq, line)
        if len(self._largest) < _SHOWN_BY_SIZE:
            heapq.heappush(self._largest, entry)
        else:
            heapq.heappushpop(self._largest, entry)


def enter(verdict: Verdict, facts: Facts) -> None:
    """Add one verdict to the facts."""
    facts.full.add(verdict.tally)
    facts.users += verdict.users
    facts.unmapped += verdict.unmapped
    facts.different_users += verdict.different_users
    facts.unreadable += verdict.unreadable is not None
    facts.altered_total += verdict.altered_total
    facts.altered += verdict.altered[: _ALTERED_SHOWN - len(facts.altered)]
