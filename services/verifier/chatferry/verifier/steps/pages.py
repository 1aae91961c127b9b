"""What was read, proved by the pages that were read."""

from __future__ import annotations

from collections.abc import Sequence

from chatferry.common.entities import Family
from chatferry.verifier.domain.facts import Mismatch, Row
from chatferry.verifier.domain.pages import PageChain
from chatferry.verifier.ports import Findings, Readings


async def look_at_pages(rows: Sequence[Row], family: Family, readings: Readings, findings: Findings) -> None:
    """Name each closed root whose pages, of the run that read it last, do not prove its account."""
    found: list[Mismatch] = []
    for entity in family.children[:1]:
        closed = [row for row in rows if row.closed and row.run is not None]
        for run in sorted({str(row.run) for row in closed}):
            chains = {row.seq: (row, PageChain()) for row in closed if row.run == run}
            async for page in readings.pages(entity, run, list(chains)):
                chains[page.parent][1].add(page)
            for row, chain in chains.values():
                found += [
                    Mismatch(entity.name, row.key, row.key, "pages", name, detail)
                    for name, detail in chain.faults(row).items()
                ]
    await findings.add(found)
