"""Publishing: a root whose walk is closed, then its children in order of id; what is due is known from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chatferry.common.contracts.envelope import common_headers, event_source, record_headers
from chatferry.common.entities import ENTITIES, Entity, Family
from chatferry.common.errors import PermanentError
from chatferry.common.streaming.records import Outgoing
from chatferry.common.telemetry.traces import current_traceparent, span
from chatferry.extractor.ports import Broker, Due, Letter, Letters, Outbox, Place, Published, Runs, Unsent
from chatferry.extractor.steps.context import Drive, outlast

_TOGETHER = 64
_LETTERS = 200


@dataclass(frozen=True, slots=True)
class Store:
    """Where what is due is known from."""

    outbox: Outbox
    unsent: Unsent
    published: Published
    letters: Letters
    runs: Runs
    """Counts what is sent."""
    dlq: Broker
    """Takes records that are 64 KiB larger than the others'."""


class Publisher:
    """One for a run. Chunks go one after the other: no chat ever has two on their way."""

    def __init__(self, family: Family, drive: Drive, store: Store, broker: Broker, project: str) -> None:
        self._family, self._drive, self._broker, self._project = family, drive, broker, project
        self._outbox, self._unsent, self._letters = store.outbox, store.unsent, store.letters
        self._published, self._runs, self._dlq = store.published, store.runs, store.dlq
        self._source = event_source(project, drive.lease.portal)
        self._closed: asyncio.Queue[tuple[int, Sequence[str]] | None] = asyncio.Queue(maxsize=10_000)
        self._reads = set[str]()

    async def closed(self, seq: int, reads: Iterable[str] = ()) -> None:
        """A root's walk is closed: it may go out. `reads`: the W3C contexts of batches that it was read in."""
        await self._closed.put((seq, tuple(reads)))

    def read_in(self, reads: Iterable[str]) -> None:
        """What is swept from now on was read in these batches."""
        self._reads.update(reads)

    async def end(self) -> None:
        """No more roots will close."""
        await self._closed.put(None)

    async def run(self) -> None:
        """Publish roots as they close, until `end`."""
        more = True
        while more:
            closed, more = await self._next()
            if closed:
                self._reads = {batch for _, reads in closed for batch in reads}
                await self._publish_roots([seq for seq, _ in closed])
                self._reads = set()

    async def _next(self) -> tuple[list[tuple[int, Sequence[str]]], bool]:
        first = await self._closed.get()
        if first is None:
            return [], False
        closed = [first]
        while len(closed) < _TOGETHER and not self._closed.empty():
            following = self._closed.get_nowait()
            if following is None:
                return closed, False
            closed.append(following)
        return closed, True

    async def _publish_roots(self, roots: Sequence[int]) -> None:
        root = self._family.root
        await self._all(lambda: self._chunk_of_roots(root, roots))
        for child in self._family.children:
            await self._drain_new(child, roots)
            await self._drain(child, roots)

    async def _chunk_of_roots(self, root: Entity, roots: Sequence[int]) -> int:
        due = await self._outbox.due_roots(root, roots)
        await self._send(root, due)
        await self._outbox.answered(root, due)
        return len(due)

    async def sweep(self) -> None:
        """Everything that is due, whoever left it: parents first, and what Get put into the dead letters."""
        strangers = self._family.reading.strangers
        met = () if strangers is None else (ENTITIES[strangers.entity],)
        for entity in dict.fromkeys((*met, *self._family.entities)):
            if entity.parent is None:
                await self._drain(entity, None)
            else:
                await self._drain_new(entity, None)
                await self._sweep_children(entity)
        await self._all(self._copy_dead_letters)

    async def again(self, entity: Entity, place: Place | None) -> None:
        """Send once more what was sent, in order of parent and id; what is due stays due.

        `place`: how far another process has come. The run's document keeps it, so that a kill repeats one chunk.
        """
        begun: Place = (None if entity.parent is None else 0, 0)
        places = [place or begun]

        async def chunk() -> bool:
            told = await self._published.published(entity, places[-1], self._drive.limits.publish_chunk)
            if told is None:
                return False
            await self._send(entity, told.records)
            await self._runs.update(self._drive.run, self._drive.lease.epoch, {"republished": list(told.last)})
            places[:] = [told.last]
            return True

        await self._all(chunk)

    async def _sweep_children(self, entity: Entity) -> None:
        after = 0
        while not self._drive.halt.is_set():
            page = await outlast(self._drive, lambda: self._outbox.due_parents(entity, after))  # noqa: B023
            if page is None:
                return
            if page.ended:
                await self._drain(entity, page.ended)
            after = page.last

    async def _all(self, chunk: Callable[[], Awaitable[Any]]) -> None:
        """Chunk after chunk, until nothing is due or the run is to end: what is due then stays due."""
        while not self._drive.halt.is_set() and await outlast(self._drive, chunk):
            pass

    async def _drain(self, entity: Entity, parents: Sequence[int] | None) -> None:
        limit = self._drive.limits.publish_chunk

        async def chunk() -> int:
            due = await self._outbox.due(entity, parents, limit)
            await self._send(entity, due)
            await self._outbox.answered(entity, due)
            return len(due)

        await self._all(chunk)

    async def _drain_new(self, entity: Entity, roots: Sequence[int] | None) -> None:
        """Children of roots that nobody had read before: due until their root's mark has passed them."""

        async def chunk() -> bool:
            found = await self._unsent.unsent(entity, roots, self._drive.limits.publish_chunk)
            if found is None:
                return False
            await self._send(entity, found.records)
            await self._unsent.sent(entity, found, self._drive.lease.epoch)
            return True

        await self._all(chunk)

    async def _send(self, entity: Entity, due: Sequence[Due]) -> None:
        """One chunk, answered whole. After a failure it is read from the store again."""
        if not due:
            return
        topic = f"{self._project}.{entity.name}"
        with span("kafka.publish", self._reads, entity=entity.name, records=len(due)):
            common = common_headers(self._source, self._drive.clock.now(), current_traceparent())
            await self._broker.send(
                [
                    Outgoing(
                        topic,
                        str(one.parent if one.parent is not None else one.seq).encode(),
                        one.body,
                        record_headers(one.key, one.version, entity.event_type, common=common),
                    )
                    for one in due
                ]
            )
        # Before it is cleared: a run that sent something never says that it sent nothing.
        await self._runs.add(self._drive.run, self._drive.lease.epoch, {"published": len(due)})
        self._drive.metrics.published.labels(entity.name).inc(len(due))

    async def _copy_dead_letters(self) -> int:
        letters = await self._letters.uncopied_dead_letters(_LETTERS)
        if letters:
            try:
                await self._dlq.send([letter.copy for letter in letters])
                await self._copied(letters, keep_raw=False)
            except PermanentError:
                await self._copy_one_by_one(letters)
        return len(letters)

    async def _copy_one_by_one(self, letters: Sequence[Letter]) -> None:
        """One of them is larger than the topic takes: its row keeps the bytes, the others go."""
        for letter in letters:
            try:
                await self._dlq.send([letter.copy])
            except PermanentError:
                await self._copied([letter], keep_raw=True)
            else:
                await self._copied([letter], keep_raw=False)

    async def _copied(self, letters: Sequence[Letter], *, keep_raw: bool) -> None:
        await self._letters.copied([letter.id for letter in letters], keep_raw=keep_raw)
        for letter in letters:
            self._drive.metrics.rejected.labels(letter.entity).inc()
