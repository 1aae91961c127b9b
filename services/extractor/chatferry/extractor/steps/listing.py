"""Listing: a family's roots from every webhook's view, or a list whose rows are whole records."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from chatferry.common.entities import Family
from chatferry.common.entities.reading import Refusal, View, map_of
from chatferry.common.errors import BlockedError
from chatferry.common.telemetry.traces import current_traceparent
from chatferry.extractor.domain.records import Candidate, Canonicalizer
from chatferry.extractor.ports import Listings, Records, Roots
from chatferry.extractor.steps.context import Drive
from chatferry.extractor.steps.reader import Active, Reaped

_MOST_READS = 16


async def listing_walks(family: Family, webhooks: Iterable[int]) -> AsyncIterator[Active]:
    """The walks over the list, of every webhook where each sees its own."""
    chosen = list(webhooks) if family.reading.every_webhook else list(webhooks)[:1]
    for webhook in chosen:
        for name, walk in family.reading.listings(webhook):
            yield Active(f"{name}:{webhook}", walk, webhook, name, family.root.name)


def _refused(active: Active, family: Family, refusal: Refusal) -> BlockedError:
    return BlockedError(
        f"the list of {family.name} cannot be read through the webhook of user {active.webhook} ({refusal.code})"
    )


class RootListing:
    """The Sink for lists whose rows name roots; a row that names none is a reject. `most`: test_limit."""

    def __init__(self, family: Family, drive: Drive, roots: Roots, records: Records, most: int | None) -> None:
        self._family, self._drive, self._roots, self._records = family, drive, roots, records
        self._rows = Canonicalizer(family.root, family.reading.parse_root, drive.told, drive.limits.record_bytes_max)
        self._left = most
        self._taken: set[int] = set()

    async def take(self, reaped: Sequence[Reaped]) -> list[Active]:
        roots: list[tuple[int, View]] = []
        for one in reaped:
            rejects: list[Candidate] = []
            for page in one.harvest.pages:
                found = [(row, self._family.reading.row(row, one.active.webhook)) for row in page.rows]
                roots += [root for _, root in found if root is not None and self._wanted(root[0])]
                unusable = [*(row for row, root in found if root is None), *page.unidentified]
                rejects += [self._reject(row, one.active.webhook) for row in unusable]
            await self._store(rejects, one.read_seq)
        await self._roots.list_roots(self._family, self._drive.run, self._drive.lease.epoch, roots)
        return []

    def _reject(self, row: Any, webhook: int) -> Candidate:
        return self._rows.nameless(row, self._family.reading.traits(map_of(row), webhook))

    async def _store(self, rejects: Sequence[Candidate], version: int) -> None:
        """Entered first and marked last: whichever of the writes a kill leaves out, the ledger balances."""
        if not rejects:
            return
        keys, run, epoch = [one.key for one in rejects], self._drive.run, self._drive.lease.epoch
        await self._roots.list_nameless(self._family, run, epoch, keys, stored=False)
        saved = await self._records.save(self._family.root, rejects, version, fresh=False)
        self._drive.metrics.extracted.labels(self._family.root.name).inc(saved.new + saved.changed)
        await self._roots.list_nameless(self._family, run, epoch, keys, stored=True)

    def _wanted(self, seq: int) -> bool:
        if self._left is None:
            return True
        if seq not in self._taken and len(self._taken) < self._left:
            self._taken.add(seq)
        return seq in self._taken

    async def failed(self, active: Active, refusal: Refusal) -> Active | None:
        raise _refused(active, self._family, refusal)


class RecordListing:
    """The Sink for a list whose rows are whole records. `most`: test_limit."""

    def __init__(self, family: Family, drive: Drive, records: Records, listings: Listings, most: int | None) -> None:
        self._family, self._drive = family, drive
        self._records, self._listings, self._left = records, listings, most
        self._whole = most is None
        self._rows = Canonicalizer(family.root, family.reading.parse_root, drive.told, drive.limits.record_bytes_max)
        self._listed = self._rejected = 0
        self.reads: deque[str] = deque(maxlen=_MOST_READS)
        """The W3C contexts of the batches that it was read in, the last ones."""

    async def take(self, reaped: Sequence[Reaped]) -> list[Active]:
        """Counts only when all of it is stored: after an outage it is called again with the same."""
        listed, rejected, left = self._listed, self._rejected, self._left
        for one in reaped:
            for page in one.harvest.pages:
                candidates = self._rows.page(page, None)
                if left is not None:
                    candidates = candidates[:left]
                    left -= len(candidates)
                saved = await self._records.save(self._family.root, candidates, one.read_seq, fresh=False)
                named = [candidate.seq for candidate in candidates if candidate.seq]
                await self._listings.listed(self._family.root, named)
                listed += len(named)
                rejected += len(candidates) - len(named)
                self._drive.metrics.extracted.labels(self._family.root.name).inc(saved.new + saved.changed)
            await self._put(one, listed, rejected)
        self._listed, self._rejected, self._left = listed, rejected, left
        if (batch := current_traceparent()) is not None:
            self.reads.append(batch)
        return []

    async def _put(self, one: Reaped, listed: int, rejected: int) -> None:
        claimed = one.active.walk.state()["claimed"]
        fields = {
            "entity": self._family.root.name,
            "family": self._family.name,
            "state": "closed" if one.harvest.ended else "walking",
            "whole": self._whole,
            "claimed": claimed,
            "listed": listed,
            "rejected": rejected,
            "gap": None if claimed is None else claimed - listed - rejected,
        }
        await self._listings.put_listing(self._family.root, self._drive.run, self._drive.lease.epoch, fields)

    async def failed(self, active: Active, refusal: Refusal) -> Active | None:
        raise _refused(active, self._family, refusal)
