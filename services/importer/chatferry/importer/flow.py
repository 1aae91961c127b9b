"""The story of an import, step by step; what is read and written is behind the ports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chatferry.common.clock import Clock
from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.streaming.progress import Progress
from chatferry.common.streaming.records import Partition, RawRecord, partition_of
from chatferry.common.telemetry.traces import span
from chatferry.importer.domain.records import (
    UNDECODABLE,
    UNKNOWN,
    ImportRecord,
    Line,
    UndecodableError,
    place_of,
    read_record,
    traceparents,
)
from chatferry.importer.domain.standing import Standing, Verdict, has_ended, judge
from chatferry.importer.draining import Drainage, line_of
from chatferry.importer.gate import Gate
from chatferry.importer.lines import Lines
from chatferry.importer.ports import (
    Behind,
    Dead,
    DeadLetters,
    DeadView,
    Done,
    Ending,
    Finished,
    ParkedView,
    Records,
    Room,
    SetAside,
    Waits,
)
from chatferry.importer.sending import Round, Sender
from chatferry.importer.settle import Books, Settler

DRAINED_AT_ONCE = Room(1_000, 8 * 1024 * 1024)
_DEAD_AT_ONCE = Room(200, 8 * 1024 * 1024)
_UNKNOWN_MESSAGE = "no document of this record is in the database; was it published by somebody else?"


@dataclass(frozen=True, slots=True)
class Views:
    """What is read beside the records."""

    records: Records
    parked: ParkedView
    dead: DeadView
    dead_letters: DeadLetters


class Importer:
    """Delivers records, and drains what is parked. Its methods never run beside each other (the runtime sees to it)."""

    def __init__(
        self, project: str, topics: Mapping[str, Entity], views: Views, books: Books, way: tuple[Sender, Gate, Lines]
    ) -> None:
        self._project, self._topics, self._views, self._books = project, topics, views, books
        self._sender, self._gate, self._lines = way
        self._drainage = Drainage(views.parked, self._gate, self._lines, topics)
        self._owned: tuple[Partition, ...] = ()
        self._seen_below: dict[Partition, int] = {}
        self._cut_off = False
        self._depths = parents_first(topics.values())
        self.diary = books.diary

    async def take_over(self, owned: Mapping[Partition, int]) -> None:
        """These partitions are ours from these offsets on: learn what waits there, and what ended beyond them."""
        self._owned = tuple(owned)
        self._seen_below = {p: last + 1 for p, last in (await self._views.dead.last_offsets(owned)).items()}
        for partition, last in (await self.reload_lines()).items():
            if last >= owned[partition]:
                self._seen_below[partition] = max(last + 1, self._seen_below.get(partition, 0))
        self._cut_off = True
        await self._recover()

    async def reload_lines(self) -> dict[Partition, int]:
        """Read anew which lines wait (a zombie may have parked late); the highest parked offset per partition.

        It may also have opened a dead letter late, and died before the copy: the next step looks for those.
        """
        self._cut_off = True
        self._drainage.forget()
        stored = await self._views.parked.lines(self._owned)
        self._lines.replace(
            {row.line: row.not_before for row in stored if row.not_before is not None}, [row.line for row in stored]
        )
        last: dict[Partition, int] = {}
        for row in stored:
            partition = Partition(row.line.topic, row.line.partition)
            last[partition] = max(row.last, last.get(partition, 0))
        return last

    async def _recover(self) -> None:
        """Bring to their end the dead letters that a crash or an outage cut off: copies, results, statuses."""
        while self._cut_off:
            dead = await self._views.dead_letters.uncopied(self._owned, _DEAD_AT_ONCE)
            if dead:
                with span("import.recovery", records=len(dead)):
                    await self._books.settle_dead(dead)
            else:
                await self._books.settle_errors(self._depths)
            self._cut_off = bool(dead)

    async def deliver(self, records: Sequence[RawRecord], progress: Progress) -> None:
        """Bring each record to its end. OutageError: what `progress` calls unfinished has to be delivered again."""
        await self._recover()
        try:
            settler = Settler(self._books, progress)
            readable = self._read(await self._without_finished(records, settler), settler)
            # Around the settler too: what it writes belongs to the trace.
            with span("import.delivery", traceparents(readable), records=len(records)):
                async with settler:
                    await self._import(readable, settler)
        except BaseException:
            # These come again, and some of them may be written down as parked or dead already.
            self._cut_off = True
            for record in records:
                seen = self._seen_below.get(partition_of(record), 0)
                self._seen_below[partition_of(record)] = max(seen, record.offset + 1)
            raise

    async def _without_finished(self, records: Sequence[RawRecord], settler: Settler) -> Sequence[RawRecord]:
        """Redelivered offsets that have a row in `parked` or `dead_letters` are finished."""
        if not self._seen_below:
            return records
        again = [r for r in records if r.offset < self._seen_below.get(partition_of(r), 0)]
        if not again:
            return records
        parked = await self._views.parked.known(again)
        dead = await self._views.dead.known(again)
        # A row that was written late has nothing beside it yet: no copy, no result, no status.
        self._cut_off = self._cut_off or bool(dead)
        known = parked | dead
        # Somebody else may have parked it since the lines were read: the rest of its line waits behind it.
        self._keep_waiting(line_of(record) for record in again if place_of(record) in parked)
        settler.add([Finished(record, parked=False) for record in again if place_of(record) in known])
        return [record for record in records if place_of(record) not in known]

    def _read(self, raws: Iterable[RawRecord], settler: Settler, *, parked: bool = False) -> list[ImportRecord]:
        read = []
        for raw in raws:
            entity = self._topics[raw.topic]
            try:
                read.append(read_record(raw, entity, self._project, parked=parked))
            except UndecodableError as broken:
                settler.add([Dead(raw, entity, None, UNDECODABLE, broken.code, broken.sentence, 0, parked)])
        return read

    async def _import(self, records: Sequence[ImportRecord], settler: Settler) -> None:
        """Parents before children: what a stage ended is written down before the next one begins."""
        for entity in self._depths:
            stage = [record for record in records if record.entity is entity]
            if stage:
                with self.diary.of(entity):
                    await self._import_entity(entity, stage, settler)
                await settler.flush()
                if settler.failed:
                    return
                self._release_children(entity, stage)
                if self._sender.stopping:
                    return

    async def _import_entity(self, entity: Entity, records: Sequence[ImportRecord], settler: Settler) -> None:
        standings = await self._views.records.standings(entity, list({record.key for record in records}))
        replaying = await self._replaying(records, standings)
        due = []
        for record in records:
            standing = standings.get(record.key)
            verdict = judge(record, standing, replaying)
            if verdict is Verdict.SEND:
                due.append(record)
            else:
                settler.add([_ended(record, verdict, standing)])
        round_ = Round(entity, standings, settler)
        await self._sender.send(round_, await self._through_gate(round_, due))

    async def _replaying(self, records: Sequence[ImportRecord], standings: Mapping[str, Standing]) -> set[str]:
        """Dead letters that records which have ended are a replay of, where it is not over yet."""
        ended = [record for record in records if has_ended(record, standings.get(record.key))]
        letters = [one.envelope.replay_of for one in ended if one.envelope.replay_of is not None]
        return await self._views.dead.replaying(letters) if letters else set()

    async def _through_gate(self, round_: Round, records: Sequence[ImportRecord]) -> list[ImportRecord]:
        parents = {record.line.parent for record in records}
        closed = await self._gate.closed_parents(round_.entity, parents)
        held = await self._gate.held_by_dead(round_.entity, parents)
        if not closed and not held:
            return list(records)
        discarded = await self._gate.discarded(round_.entity, closed)
        sendable = []
        for record in records:
            if record.line.parent in discarded:
                round_.settler.add([SetAside(record)])
                continue
            if record.line.parent in closed:
                round_.settler.add([Waits(record, Behind.PARENT)])
            elif record.line.parent in held and record.envelope.replay_of is None:
                round_.settler.add([Waits(record, Behind.BEHIND)])
            else:
                if record.line.parent in held:
                    round_.ahead.add(place_of(record.raw))
                sendable.append(record)
                continue
            self._lines.wait_at_gate(record.line)
        return sendable

    def _release_children(self, entity: Entity, records: Sequence[ImportRecord]) -> None:
        for topic, child in self._topics.items():
            if child.parent == entity.name:
                for record in records:
                    self._lines.release(Line(topic, record.line.partition, record.line.parent))

    async def drain(self, clock: Clock, open_topics: frozenset[str], room: Room = DRAINED_AT_ONCE) -> int:
        """Deliver what is parked and may go now, as much as there is room for; how many rows were taken up."""
        await self._recover()
        taken = await self._drainage.take(clock.now().timestamp(), open_topics, room)
        if not taken.rows:
            return 0
        lines = taken.lines
        for line in lines:
            self._lines.leave(line)
        try:
            settler = Settler(self._books, None)
            rows = await self._without_dead([row.raw for row in taken.rows], settler)
            readable = self._read(rows, settler, parked=True)
            with span("import.drain", traceparents(readable), records=len(taken.rows)):
                async with settler:
                    await self._import(readable, settler)
        except BaseException:
            self._cut_off = True
            # One of their rows may have ended, only to be dropped yet.
            self._take_up_again(lines)
            raise
        unended = {line_of(row.raw) for row in taken.rows if place_of(row.raw) not in settler.ended}
        self._keep_waiting(lines & (taken.unread | unended))
        self._take_up_again(lines & taken.replayed)
        return len(taken.rows)

    async def _without_dead(self, rows: Sequence[RawRecord], settler: Settler) -> list[RawRecord]:
        """A row that has died was only to be dropped yet: another try could end it no more than the one before."""
        dead = await self._views.dead.known(rows)
        self._cut_off = self._cut_off or bool(dead)
        settler.add([Finished(row, parked=True) for row in rows if place_of(row) in dead])
        return [row for row in rows if place_of(row) not in dead]

    def _take_up_again(self, lines: Iterable[Line]) -> None:
        """Due at once, but for those that have to be tried again later."""
        for line in lines:
            self._lines.wait_at_gate(line)
            self._lines.release(line)

    def _keep_waiting(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._lines.wait_at_gate(line)


def _ended(record: ImportRecord, verdict: Verdict, standing: Standing | None) -> Ending:
    if verdict is Verdict.DONE:
        erred = standing is not None and standing.erred and standing.version == record.version
        return Done(record, "skipped", None, erred)
    if verdict is Verdict.UNKNOWN:
        return Dead(record.raw, record.entity, record, UNKNOWN, "record.unknown", _UNKNOWN_MESSAGE, 0, record.parked)
    return Finished(record.raw, record.parked)


def parents_first(entities: Iterable[Entity]) -> list[Entity]:
    """So that none comes before the one that its records wait for."""

    def depth(entity: Entity) -> int:
        return 0 if entity.parent is None else 1 + depth(ENTITIES[entity.parent])

    return sorted(entities, key=depth)
