"""Taking in what a walk through a root brought: records first, then the walk's position and its pages, together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from chatferry.common.entities import Entity, Family
from chatferry.common.entities.reading import Page, Refusal, WalkOrder
from chatferry.common.telemetry.traces import current_traceparent
from chatferry.extractor.domain.gaps import gap_reason
from chatferry.extractor.domain.records import Candidate, Canonicalizer, mentioned_users
from chatferry.extractor.ports import Inventory, PageEntry, Records, Row, Saved, WalkUpdate
from chatferry.extractor.steps.context import Drive, outlast
from chatferry.extractor.steps.publisher import Publisher
from chatferry.extractor.steps.reader import Active, Reaped
from chatferry.extractor.steps.strangers import Strangers
from chatferry.extractor.steps.ways import Root, is_over, root_of

Found = tuple[Candidate | None, list[tuple[Page, list[Candidate]]]]
_NOT_FOUND = "ERROR_METHOD_NOT_FOUND"


class RootIntake:
    """The Sink for walks through roots and their children.

    `method` reads the children: the real one as soon as the portal turns out to have lost the planned one.
    """

    def __init__(
        self,
        family: Family,
        drive: Drive,
        records: Records,
        inventory: Inventory,
        strangers: Strangers | None,
        publisher: Publisher,
    ) -> None:
        reading, limit = family.reading, drive.limits.record_bytes_max
        self._family, self._drive = family, drive
        self._records, self._inventory = records, inventory
        self._strangers, self._publisher = strangers, publisher
        self._child = family.children[0]
        self._root_rows = Canonicalizer(family.root, reading.parse_root, drive.told, limit)
        assert reading.parse_child is not None, "a family with a walk has children"
        self._child_rows = Canonicalizer(self._child, reading.parse_child, drive.told, limit)
        self._roots: dict[str, Root] = {}
        self.method = drive.method

    async def walks(self) -> AsyncIterator[Active]:
        """The walks of this run that have not ended, each where an earlier process left it."""
        async for row in self._inventory.open_rows(self._family, self._drive.run, self._drive.lease.epoch):
            active = self._begin(row)
            yield active if not is_over(row["walk"]) else await self._again(self._roots[active.name], row["walk"])

    def _begin(self, row: Row) -> Active:
        root = root_of(row)
        self._roots[root.key] = root
        return self._active(root, row["walk"])

    def _active(self, root: Root, state: Row) -> Active:
        """A walk that comes after another one, or after a refusal, is made by the method that every portal has."""
        view, planned = root.views[root.view], self._family.reading.planned
        method = planned[1] if planned and (root.walks or root.real) else self.method
        order = WalkOrder(root.seq, view, method, self._drive.limits.page_size, self._drive.newest, state)
        assert self._family.reading.walk is not None
        walk = self._family.reading.walk(order)
        return Active(root.key, walk, view.webhook, str(walk.state().get("method", "")), self._child.name)

    async def take(self, reaped: Sequence[Reaped]) -> list[Active]:
        candidates = [(one, self._candidates(one)) for one in reaped]
        await self._note_strangers(reaped, [found for _, found in candidates])
        self._begun(reaped)
        entries = await self._store(candidates)
        for one in reaped:
            await self._count_vanished(one, entries[one.active.name])
        updates = [self._update(one, entries[one.active.name]) for one in reaped]
        for one in reaped:
            await self._bury(one, entries[one.active.name])
        await self._inventory.commit(self._drive.run, self._drive.lease.epoch, updates)
        # What was read is in: from here on nothing may be repeated as a whole.
        batch = current_traceparent()
        for one in reaped:
            self._note(one, entries[one.active.name])
            if batch is not None:
                self._roots[one.active.name].reads.append(batch)
        return [again for one in reaped if (again := await self._ended(one)) is not None]

    def _begun(self, reaped: Sequence[Reaped]) -> None:
        """What a walk misses is marked with the number of the read: no mark of an earlier walk is as high."""
        for one in reaped:
            root = self._roots[one.active.name]
            root.began = one.read_seq if root.began is None else root.began

    async def _count_vanished(self, one: Reaped, entries: list[PageEntry]) -> None:
        """Dead letters without an id lie in no interval: a walk that is through counts those that it has not met."""
        root = self._roots[one.active.name]
        if not (one.harvest.ended and root.known and entries):
            return
        rejected = root.rejected + sum(page.rejected for page in entries)
        stored = await self._records.count(self._child, root.seq, nameless=True)
        entries[-1] = replace(entries[-1], absent=entries[-1].absent + stored - rejected)

    def _note(self, one: Reaped, entries: Sequence[PageEntry]) -> None:
        root = self._roots[one.active.name]
        root.stored = root.stored or one.harvest.root is not None
        root.gone += sum(page.absent for page in entries)
        root.rejected += sum(page.rejected for page in entries)

    async def _bury(self, one: Reaped, entries: Sequence[PageEntry]) -> None:
        """What a walk missed is gone, if the portal's own count says that the walk saw all there is.

        Else it may be hidden (another webhook's history, a page that came back empty), and stays as it is: a gap.
        """
        root, state = self._roots[one.active.name], one.active.walk.state()
        seen = state["listed"] + root.rejected + sum(page.rejected for page in entries)
        if not one.harvest.ended or state["limited"] or state["claimed"] != seen:
            return
        if root.known and root.began is not None and root.saw_most(seen):
            await self._records.bury(self._child, root.seq, root.began, one.read_seq)

    def _candidates(self, one: Reaped) -> Found:
        seq = self._roots[one.active.name].seq
        root = one.harvest.root
        parent = None if root is None else self._root_rows.row({**root, "id": seq}, {}, None)
        return parent, [(page, self._child_rows.page(page, seq)) for page in one.harvest.pages]

    async def _note_strangers(self, reaped: Sequence[Reaped], found: Sequence[Found]) -> None:
        mentioned: set[int] = set()
        for parent, pages in found:
            if parent is not None:
                mentioned |= mentioned_users(self._family.root, [parent])
            for _, children in pages:
                mentioned |= mentioned_users(self._child, children)
        raw = [user for one in reaped for user in one.harvest.users]
        raw += [user for one in reaped for page in one.harvest.pages for user in page.users]
        if self._strangers is not None:
            await self._strangers.note(mentioned, raw)

    async def _store(self, candidates: Sequence[tuple[Reaped, Found]]) -> dict[str, list[PageEntry]]:
        """Everything where nothing can be there yet goes in one insert; the rest is compared page by page."""
        version = candidates[0][0].read_seq
        roots: list[Candidate] = []
        fresh: list[Candidate] = []
        entries: dict[str, list[PageEntry]] = {}
        for one, (parent, pages) in candidates:
            root = self._roots[one.active.name]
            if parent is not None:
                roots.append(parent)
            entries[root.key] = []
            for page, children in pages:
                entry = self._entry(one, root, page, children)
                if root.known:
                    saved = await self._compare(one, entry, children)
                    entry = replace(entry, absent=saved.absent)
                else:
                    fresh += children
                entries[root.key].append(entry)
        self._count(self._child, await self._records.save(self._child, fresh, version, fresh=True, flagged=False))
        self._count(self._family.root, await self._records.save(self._family.root, roots, version, fresh=False))
        return entries

    def _count(self, entity: Entity, saved: Saved) -> None:
        """At once: what is taken in a second time, after an outage, is stored already."""
        self._drive.metrics.extracted.labels(entity.name).inc(saved.new + saved.changed)

    async def _compare(self, one: Reaped, page: PageEntry, children: Sequence[Candidate]) -> Saved:
        """A page above the watermark alone says nothing of its interval: it has none."""
        state = one.active.walk.state()
        newest = page.hi > page.lo and page.hi > (state["watermark"] or 0)
        saved = await self._records.save_interval(
            self._child, children, one.read_seq, page, to_the_end=newest, shown_above=state.get("above", False)
        )
        self._count(self._child, saved)
        return saved

    def _entry(self, one: Reaped, root: Root, page: Page, children: Sequence[Candidate]) -> PageEntry:
        return PageEntry(
            entity=self._child.name,
            parent=root.seq,
            lo=page.lo,
            hi=page.hi,
            count=len({child.key for child in children if child.seq}),
            rejected=len({child.key for child in children if not child.seq}),
            read_seq=one.read_seq,
            webhook=one.active.webhook,
            method=one.active.method,
            duration_ms=one.duration_ms,
        )

    def _update(self, one: Reaped, entries: Sequence[PageEntry]) -> WalkUpdate:
        """What the row is to say; the same however often it is asked."""
        root, state = self._roots[one.active.name], one.active.walk.state()
        if not state["complete"]:
            return WalkUpdate(root.key, {"state": "walking"})
        gone = root.gone + sum(page.absent for page in entries)
        rejected = root.rejected + sum(page.rejected for page in entries)
        fields = {
            "state": "walking",
            "stored": root.stored or one.harvest.root is not None,
            "walk": state,
            "found": {"gone": gone, "rejected": rejected, "began": root.began},
            "claimed": state["claimed"],
            "watermark": state["watermark"],
        }
        ended = one.harvest.ended and root.next_view(state, rejected) is None
        if ended or not root.known:
            # Until a walk is through, the account of the walk before it holds.
            fields |= {"listed": state["listed"], "absent": gone, "rejected": rejected}
        if ended:
            best = root.views[root.best(state["listed"] + rejected)]
            fields |= {**self._end_of(root, state, rejected), "reader": best.webhook}
        return WalkUpdate(root.key, fields, [entry for entry in entries if entry.hi > entry.lo])

    def _end_of(self, root: Root, state: Row, rejected: int) -> Row:
        seen = state["listed"] + rejected
        reason = gap_reason(state["claimed"], seen, limited=state["limited"], walks=root.walks + 1)
        return {"state": "closed", "gap": state["claimed"] - seen, "reason": reason, "method": state["method"]}

    async def _ended(self, one: Reaped) -> Active | None:
        root, state = self._roots[one.active.name], one.active.walk.state()
        if not one.harvest.ended:
            return None
        if root.next_view(state, root.rejected) is None:
            del self._roots[root.key]
            await self._publisher.closed(root.seq, root.reads)
            return None
        return await self._again(root, state)

    async def _again(self, root: Root, state: Row) -> Active:
        """After a walk that has ended as `state` says."""
        view = root.next_view(state, root.rejected)
        root.tried[root.webhook] = state["listed"] + root.rejected
        root.view = root.view if view is None else view
        root.walks += 1
        return await self._anew(root)

    async def _anew(self, root: Root) -> Active:
        """From the beginning; what is stored already is compared."""
        root.gone, root.rejected, root.began, root.known = 0, 0, None, True
        run, epoch = self._drive.run, self._drive.lease.epoch
        await outlast(self._drive, lambda: self._inventory.restart(run, epoch, root.key, root.seq, root.way()))
        return self._active(root, {})

    async def failed(self, active: Active, refusal: Refusal) -> Active | None:
        root = self._roots[active.name]
        if self._falls_back(root, active, refusal) or root.refused():
            return await self._anew(root)
        await self._inventory.commit(
            self._drive.run, self._drive.lease.epoch, [await self._failure(root, active, refusal)]
        )
        del self._roots[root.key]
        return None

    def _falls_back(self, root: Root, active: Active, refusal: Refusal) -> bool:
        """The planned method may be refused where the real one is not: that is no refusal of the view."""
        planned = self._family.reading.planned
        if planned is None or active.method != planned[0] or refusal.transient:
            return False
        root.real = True
        if refusal.code == _NOT_FOUND:
            self.method = planned[1]
        return True

    async def _failure(self, root: Root, active: Active, refusal: Refusal) -> WalkUpdate:
        """What was stored and not seen by this walk counts as absent, so that the account still adds up."""
        state = active.walk.state()
        listed, claimed = (state["listed"], state["claimed"]) if state["complete"] else (0, state["claimed"])
        stored = await self._records.count(self._child, root.seq)
        fields = {
            "state": "failed" if refusal.transient else "unreadable",
            "reason": f"the portal refused it ({refusal.code}) to every webhook that sees it",
            "gap": None if claimed is None else claimed - listed - root.rejected,
            "listed": listed,
            "rejected": root.rejected,
            "absent": stored - listed - root.rejected,
        }
        return WalkUpdate(root.key, fields, [])
