"""Writes down how records ended, in the one order that survives a crash between any two writes (design: data.md §3).

done     results answered -> id map -> replayed dead letters -> status -> dead letters of an error -> no error any more
dead     row in dead_letters -> copy on dlq -> results -> status -> row superseded, if late -> row marked copied
retry    status with the attempt -> parked
waiting  parked
set aside    status with the reason -> replayed dead letters, which are discarded
and only then the offset, or for a record out of `parked` its row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self, TypeVar

from chatferry.common.documents import ERROR_RETRY, IMPORT_ERR, PARENT_DISCARDED, SKIPPED
from chatferry.common.entities import Entity
from chatferry.common.streaming.progress import Progress
from chatferry.common.streaming.records import RawRecord
from chatferry.common.telemetry.metrics import Metrics
from chatferry.common.telemetry.traces import span
from chatferry.importer.diary import Diary
from chatferry.importer.domain.records import place_of, replayed_place
from chatferry.importer.limit import DeadLimit
from chatferry.importer.ports import (
    Dead,
    DeadLetters,
    Done,
    Ending,
    Errors,
    Events,
    Finished,
    Ids,
    Parked,
    Records,
    Retry,
    SetAside,
    Waits,
)

_MOST_PENDING = 1_000
T = TypeVar("T", Done, Dead, Retry, SetAside)


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that endings are written to."""

    records: Records
    errors: Errors
    ids: Ids
    parked: Parked
    dead: DeadLetters
    events: Events
    metrics: Metrics
    limit: DeadLimit | None = None
    diary: Diary = field(default_factory=Diary)

    async def settle(self, endings: Sequence[Ending], progress: Progress | None) -> None:
        """Write down the endings. Safe to repeat whole after any failure.

        Raises OutageError when the limit of dead letters is passed: what is beyond it stays as it was.
        """
        if self.limit is None:
            await self._settle(endings, progress)
            return
        weighed = self.limit.weigh(endings)
        await self._settle(weighed.admitted, progress)
        self.limit.keep(weighed)
        await self.limit.halt(weighed)

    async def _settle(self, endings: Sequence[Ending], progress: Progress | None) -> None:
        await self._done([ending for ending in endings if isinstance(ending, Done)])
        await self.settle_dead([ending for ending in endings if isinstance(ending, Dead)])
        await self._retry([ending for ending in endings if isinstance(ending, Retry)])
        await self._wait([ending for ending in endings if isinstance(ending, Waits) and not ending.record.parked])
        await self._set_aside([ending for ending in endings if isinstance(ending, SetAside)])
        await self.parked.drop([place_of(raw) for raw in _leaving(endings)])
        if progress is not None:
            progress.finish(_of_this_delivery(endings))

    async def settle_dead(self, dead: Sequence[Dead]) -> None:
        """The end of dead letters; a row that is not marked copied goes through all of it again."""
        if not dead:
            return
        await self.dead.open(dead)
        oversized = await self.events.copy_dead(dead)
        await self.events.failed(dead)
        replayed = [place for d in dead if (place := replayed_place(d.raw))]
        if replayed:
            await self.dead.resolve(replayed, {})
        for entity, group in _by_entity(dead):
            known = [(d.record.key, d.record.version, d.attempts, d.code) for d in group if d.record is not None]
            await self.records.mark_failed(entity, IMPORT_ERR, known)
            await self._withdraw(entity, {key: version for key, version, *_ in known})
            self.metrics.import_err.labels(entity.name).inc(len(group))
            self.diary.died(entity, group)
        await self.dead.copied(oversized, keep_raw=True)
        await self.dead.copied({place_of(d.raw) for d in dead} - oversized)

    async def _withdraw(self, entity: Entity, dead: Mapping[str, int]) -> None:
        """Nobody has to replay what another importer has imported meanwhile, or what has newer content by now."""
        standings = await self.records.standings(entity, list(dead))
        newer = {key: max(there.version, there.imported_version + 1) for key, there in standings.items()}
        newer = {key: version for key, version in newer.items() if version > dead[key]}
        if newer:
            await self.dead.resolve([], newer)

    async def _done(self, done: Sequence[Done]) -> None:
        if not done:
            return
        await self.events.imported(done)
        for entity, group in _by_entity(done):
            fresh = [d for d in group if d.status != "skipped"]
            if entity.parent is None:
                await self.ids.learn(entity, {d.record.key: d.target_id for d in fresh if d.target_id is not None})
            await self._resolve(group)
            late = await self.records.mark_done(entity, fresh)
            if late:
                # Another importer declared them dead while this one waited for the target's answer.
                fresh = [replace(d, erred_before=d.erred_before or d.record.key in late) for d in fresh]
                await self._resolve([d for d in fresh if d.record.key in late])
                await self.records.mark_done(entity, [d for d in fresh if d.record.key in late])
            # Only now can no other importer find the record undone: what it has declared dead before ends here. Whoever
            # is cut off before that leaves the error on the document: `settle_errors` finds it.
            there = [d for d in group if d.status == "skipped"]
            await self._forgive(entity, {d.record.key: d.record.version for d in (*there, *fresh) if d.erred_before})
            self.diary.replayed(entity, sum(1 for d in group if d.record.envelope.replay_of))
            self.metrics.import_ok.labels(entity.name).inc(len(fresh))
            self.metrics.skipped.labels(entity.name, "imported").inc(len(group) - len(fresh))

    async def settle_errors(self, entities: Iterable[Entity]) -> None:
        """The end of the dead letters of what is imported, where whoever imported it was cut off before."""
        for entity in entities:
            while left := await self.errors.left(entity, _MOST_PENDING):
                await self._forgive(entity, left)

    async def _forgive(self, entity: Entity, imported: Mapping[str, int]) -> None:
        if imported:
            await self.dead.resolve([], {key: version + 1 for key, version in imported.items()})
            await self.errors.forgive(entity, imported)

    async def _resolve(self, done: Sequence[Done]) -> None:
        replayed = [d.record.envelope.replay_of for d in done if d.record.envelope.replay_of]
        newer = {d.record.key: d.record.version for d in done if d.erred_before}
        if replayed or newer:
            await self.dead.resolve(replayed, newer)

    async def _retry(self, retries: Sequence[Retry]) -> None:
        for entity, group in _by_entity(retries):
            await self.records.mark_failed(
                entity, ERROR_RETRY, [(r.record.key, r.record.version, r.attempts, r.code) for r in group]
            )
            self.metrics.retries.labels(entity.name).inc(len(group))
        fresh = [(r.record, "retry", r.not_before) for r in retries if not r.record.parked]
        if fresh:
            await self.parked.park(fresh)
        again = {place_of(r.record.raw): r.not_before for r in retries if r.record.parked}
        if again:
            await self.parked.postpone(again)

    async def _wait(self, waits: Sequence[Waits]) -> None:
        if waits:
            await self.parked.park([(w.record, w.reason.value, None) for w in waits])

    async def _set_aside(self, aside: Sequence[SetAside]) -> None:
        for entity, group in _by_entity(aside):
            named = [(one.record.key, one.record.version, 0, PARENT_DISCARDED) for one in group]
            await self.records.mark_failed(entity, SKIPPED, named)
            self.metrics.skipped.labels(entity.name, PARENT_DISCARDED).inc(len(group))
        replayed = [place for one in aside if (place := replayed_place(one.record.raw))]
        if replayed:
            await self.dead.resolve(replayed, {}, given_up=True)


class Settler:
    """Settles what lanes add, group by group, while they go on: one group at a time, as large as has gathered."""

    def __init__(self, books: Books, progress: Progress | None) -> None:
        self._books, self._progress = books, progress
        self._pending: list[Ending] = []
        self._calls = set[str]()
        self._wake, self._taken = asyncio.Event(), asyncio.Event()
        self._closed = self._busy = False
        self.failed = False
        self.ended: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="settle")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, trace
        if self._task is None:
            return
        if isinstance(error, asyncio.CancelledError):
            self._task.cancel()
        self._closed = True
        self._wake.set()
        [outcome] = await asyncio.gather(self._task, return_exceptions=True)
        if error is None and outcome is not None:
            raise outcome

    def add(self, endings: Iterable[Ending], call: str | None = None) -> None:
        """To be settled soon; whether it was, `progress` tells, or of what is drained `ended`, by place.

        `call`: the W3C context of the call that they came of.
        """
        if call is not None:
            self._calls.add(call)
        added = list(endings)
        self._pending.extend(added)
        if self._progress is None:
            self.ended.update(place_of(_raw_of(one)) for one in added)
        self._wake.set()

    async def room(self) -> None:
        """Wait until not too much is pending."""
        while len(self._pending) > _MOST_PENDING and not self.failed:
            self._taken.clear()
            await self._taken.wait()

    async def flush(self) -> None:
        """Wait until all that was added is written down, or could not be."""
        while (self._pending or self._busy) and not self.failed:
            self._taken.clear()
            await self._taken.wait()

    async def _run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                group, self._pending = self._pending, []
                calls, self._calls = self._calls, set()
                if group:
                    self._busy = True
                    self._taken.set()
                    with span("import.settle", calls, endings=len(group)):
                        await self._books.settle(group, self._progress)
                    self._busy = False
                    self._taken.set()
                elif self._closed:
                    return
                if self._closed:
                    self._wake.set()
        except BaseException:
            self.failed = True
            raise
        finally:
            self._taken.set()


def _by_entity(endings: Sequence[T]) -> Iterable[tuple[Entity, list[T]]]:
    groups: dict[str, tuple[Entity, list[T]]] = {}
    for ending in endings:
        entity = _entity_of(ending)
        groups.setdefault(entity.name, (entity, []))[1].append(ending)
    return groups.values()


def _entity_of(ending: Done | Dead | Retry | SetAside) -> Entity:
    return ending.entity if isinstance(ending, Dead) else ending.record.entity


def _raw_of(ending: Ending) -> RawRecord:
    return ending.raw if isinstance(ending, (Dead, Finished)) else ending.record.raw


def _is_parked(ending: Ending) -> bool:
    return ending.parked if isinstance(ending, (Dead, Finished)) else ending.record.parked


def _leaving(endings: Sequence[Ending]) -> list[RawRecord]:
    """Records out of `parked` that go back there no more."""
    return [_raw_of(ending) for ending in endings if _is_parked(ending) and not isinstance(ending, (Retry, Waits))]


def _of_this_delivery(endings: Sequence[Ending]) -> list[RawRecord]:
    return [_raw_of(ending) for ending in endings if not _is_parked(ending)]
