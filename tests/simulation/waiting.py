"""`parked`, `dead_letters` and the topics that the importer writes, in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tests.simulation.stores import LIVING, BrokenPromiseError, Port, Row, bound
from tests.unit.importer.rows import add_row, is_row_of

from chatferry.common.entities import Entity
from chatferry.common.errors import OutageError
from chatferry.common.streaming.records import Partition, RawRecord, StoredRecord, partition_of
from chatferry.importer.domain.records import EXHAUSTED, ImportRecord, Line, UndecodableError, place_of, read_record
from chatferry.importer.ports import Dead, Done, ParkedRow, Room, StoredLine


def _kafka_away() -> Exception:
    return OutageError("kafka", "away")


class SimulatedParked(Port):
    """Ports `Parked` and `ParkedView`."""

    async def park(self, rows: Sequence[tuple[ImportRecord, str, datetime | None]]) -> None:
        def insert(record: ImportRecord, reason: str, not_before: datetime | None) -> None:
            row = {"record": record, "reason": reason, "not_before": not_before}
            add_row(self._store.parked, record.raw, row)

        named = ", ".join(place_of(record.raw) for record, _, _ in rows)
        await self._write(f"park {named}", [bound(insert, *row) for row in rows])

    async def postpone(self, moments: Mapping[str, datetime]) -> None:
        def update(place: str, moment: datetime) -> None:
            if place in self._store.parked:
                self._store.parked[place].update(reason="retry", not_before=moment)

        await self._write(f"postpone {', '.join(moments)}", [bound(update, *one) for one in moments.items()])

    async def drop(self, places: Collection[str]) -> None:
        if places:
            parked = self._store.parked
            named = sorted(places)
            await self._write(f"drop {', '.join(named)}", [bound(parked.pop, place, None) for place in named])

    async def lines(self, partitions: Collection[Partition]) -> list[StoredLine]:
        found: list[StoredLine] = []
        for partition in sorted(partitions):
            moments = await self._read("moments", lambda at=partition: self._moments(at))  # type: ignore[misc]
            last = await self._read("lines", lambda at=partition: self._last(at))  # type: ignore[misc]
            found += [StoredLine(line, moments.get(line.parent), offset) for line, offset in last.items()]
        return found

    def _of(self, partition: Partition) -> Iterable[Row]:
        return (row for row in self._store.parked.values() if row["record"].line[:2] == partition)

    def _moments(self, partition: Partition) -> dict[int, float]:
        moments = {row["record"].line.parent: 0.0 for row in self._of(partition) if row["record"].envelope.replay_of}
        retries = (row for row in self._of(partition) if row["reason"] == "retry")
        return moments | {row["record"].line.parent: _moment(row) for row in retries}

    def _last(self, partition: Partition) -> dict[Line, int]:
        last: dict[Line, int] = {}
        for row in self._of(partition):
            line = row["record"].line
            last[line] = max(row["record"].raw.offset, last.get(line, 0))
        return dict(sorted(last.items()))

    async def rows(
        self, partition: Partition, parents: Collection[int], room: Room, *, replays: bool = False
    ) -> tuple[list[ParkedRow], int | None]:
        def look() -> tuple[list[ParkedRow], int | None]:
            found = [row for row in self._of(partition) if row["record"].line.parent in parents]
            if replays:
                found = [row for row in found if row["record"].envelope.replay_of]
            found.sort(key=lambda row: (row["record"].line.parent, row["record"].raw.offset))
            taken = _fitting([(row, len(row["record"].body)) for row in found], room)
            cut = next((row["record"].line.parent for row in found[len(taken) :]), None)
            return [ParkedRow(_stored(row["record"]), _moment(row)) for row in taken], cut

        return await self._read("parked rows", look)  # type: ignore[no-any-return]

    async def known(self, records: Collection[RawRecord]) -> set[str]:
        return await self._read("parked?", lambda: _known(self._store.parked, records))  # type: ignore[no-any-return]

    async def counts(self) -> dict[str, int]:
        return await self._read("count", lambda: {"chat_messages": len(self._store.parked)})  # type: ignore[no-any-return]


class SimulatedDeadLetters(Port):
    """Ports `DeadLetters` and `DeadView`."""

    async def open(self, dead: Sequence[Dead]) -> None:
        def insert(one: Dead) -> None:
            row = {"dead": one, "state": "dead", "copied": False, "raw": True}
            add_row(self._store.dead, one.raw, row)

        named = ", ".join(f"{place_of(one.raw)} {one.error_class}" for one in dead)
        await self._write(f"dead row {named}", [bound(insert, one) for one in dead])

    async def uncopied(self, partitions: Collection[Partition], room: Room) -> list[Dead]:
        def look() -> list[Dead]:
            rows = [row["dead"] for row in self._store.dead.values() if not row["copied"]]
            rows = [dead for dead in rows if (dead.raw.topic, dead.raw.partition) in partitions]
            rows.sort(key=lambda dead: (dead.raw.partition, dead.raw.offset))
            return [_reread(dead) for dead in _fitting([(dead, len(dead.raw.value or b"")) for dead in rows], room)]

        return await self._read("uncopied", look) if partitions else []

    async def copied(self, places: Collection[str], *, keep_raw: bool = False) -> None:
        def mark(place: str) -> None:
            if place in self._store.dead:
                row = self._store.dead[place]
                row.update(copied=True, raw=keep_raw, copied_at=row.get("copied_at") or self._store.next_moment())

        if places:
            await self._write("dead copied", [bound(mark, place) for place in sorted(places)])

    async def resolve(self, replayed: Collection[str], newer: Mapping[str, int], *, given_up: bool = False) -> None:
        def supersede(key: str, version: int) -> None:
            for row in self._store.dead.values():
                record = row["dead"].record
                if row["state"] in LIVING and record is not None and record.key == key and record.version < version:
                    row["state"] = "superseded"

        def end(place: str) -> None:
            row = self._store.dead.get(place)
            if row is not None and row["state"] == "replaying":
                row["state"] = "discarded" if given_up else "replayed"

        named = ", ".join([*(f"{key}<{version}" for key, version in newer.items()), *sorted(replayed)])
        effects = [*(bound(supersede, *one) for one in newer.items()), *(bound(end, p) for p in sorted(replayed))]
        await self._write(f"dead resolved {named}", effects)

    async def known(self, records: Collection[RawRecord]) -> set[str]:
        return await self._read("dead?", lambda: _known(self._store.dead, records))  # type: ignore[no-any-return]

    async def replaying(self, places: Collection[str]) -> set[str]:
        def look() -> set[str]:
            return {place for place in places if self._store.dead.get(place, {}).get("state") == "replaying"}

        return await self._read("replaying?", look)  # type: ignore[no-any-return]

    async def last_offsets(self, partitions: Mapping[Partition, int]) -> dict[Partition, int]:
        last: dict[Partition, int] = {}
        for partition, offset in partitions.items():
            found = await self._read("last dead", lambda at=partition, since=offset: self._last(at, since))  # type: ignore[misc]
            if found is not None:
                last[partition] = found
        return last

    def _last(self, partition: Partition, since: int) -> int | None:
        self._learnt[partition] = self._store.next_moment()
        raws = [row["dead"].raw for row in self._store.dead.values()]
        return max((r.offset for r in raws if (r.topic, r.partition) == partition and r.offset >= since), default=None)

    async def holding(self, entity: Entity, parents: Collection[int], *, exhausted_only: bool = False) -> set[int]:
        def look() -> set[int]:
            living = [row["dead"] for row in self._store.dead.values() if row["state"] in LIVING]
            wanted = [dead for dead in living if dead.error_class == EXHAUSTED] if exhausted_only else living
            return {dead.record.line.parent for dead in wanted if dead.record and dead.entity is entity} & set(parents)

        return await self._read("held?", look)  # type: ignore[no-any-return]


class SimulatedEvents(Port):
    """Port `Events`: each record of a chunk is answered for alone."""

    async def imported(self, done: Sequence[Done]) -> None:
        await self._send("results", [("imported", d.record.key, d.record.version) for d in done])

    async def failed(self, dead: Sequence[Dead]) -> None:
        await self._send("results of dead", [("failed", d.record.key, d.record.version) for d in dead if d.record])

    async def copy_dead(self, dead: Sequence[Dead]) -> set[str]:
        places = [place_of(one.raw) for one in dead]
        # What is on its way to Kafka may arrive long after its sender has learnt more.
        learnt = dict(self._learnt)

        def copy(one: Dead, place: str) -> None:
            copied_at = self._store.dead[place].get("copied_at")
            # A crash before the row in `parked` is dropped lets outdated content die twice: one more copy.
            parked = place in self._store.parked
            if not parked and copied_at is not None and copied_at < learnt.get(partition_of(one.raw), 0):
                raise BrokenPromiseError(f"dead letter {place} is copied again by an importer that could know of it")
            self._store.copies.add(place)

        effects = [bound(copy, one, place) for one, place in zip(dead, places, strict=True)]
        await self._ask(("kafka", f"copy {', '.join(places)}"), effects, _kafka_away)
        return set()

    async def _send(self, what: str, events: Sequence[tuple[str, str, int]]) -> None:
        if events:
            named = ", ".join(f"{key}@{version}" for _, key, version in events)
            effects = [bound(self._store.results.add, event) for event in events]
            await self._ask(("kafka", f"{what} {named}"), effects, _kafka_away)


def _known(rows: Mapping[str, Row], records: Collection[RawRecord]) -> set[str]:
    return {place_of(record) for record in records if is_row_of(rows, record)}


def _moment(row: Row) -> float:
    return row["not_before"].timestamp() if row["not_before"] else 0.0


def _fitting(found: Sequence[tuple[Any, int]], room: Room) -> list[Any]:
    taken: list[Any] = []
    size = 0
    for one, length in found[: room.rows]:
        size += length
        if taken and size > room.size_bytes:
            break
        taken.append(one)
    return taken


def _stored(record: ImportRecord) -> StoredRecord:
    raw = record.raw
    return StoredRecord(raw.topic, raw.partition, raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers))


def _reread(dead: Dead) -> Dead:
    try:
        record = read_record(dead.raw, dead.entity, "p")
    except UndecodableError:
        record = None
    return Dead(dead.raw, dead.entity, record, dead.error_class, dead.code, dead.message, dead.attempts)
