"""The importer's ports in memory, with a crash that can be put before or after any write."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit.importer.fake_target import FakeTarget as FakeTarget
from tests.unit.importer.faults import CrashError as CrashError
from tests.unit.importer.faults import Faults as Faults
from tests.unit.importer.rows import add_row, is_row_of, stored

from chatferry.common.documents import IMPORT_OK, NEW, SKIPPED
from chatferry.common.entities import Entity
from chatferry.common.streaming.records import Partition, RawRecord, StoredRecord
from chatferry.importer.domain.records import EXHAUSTED, ImportRecord, Line, place_of
from chatferry.importer.domain.standing import FamilyState, Standing, outlasting
from chatferry.importer.ports import Dead, Done, ParkedRow, Room, StoredLine


class FakeClock:
    """Time that moves when somebody sleeps or the test says so. `set_back_s`: the wall clock alone."""

    def __init__(self) -> None:
        self.seconds = self.set_back_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds - self.set_back_s)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class FakeStore:
    """Every collection; each port below is a view of it."""

    faults: Faults = field(default_factory=Faults)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    parked: dict[str, dict[str, Any]] = field(default_factory=dict)
    dead: dict[str, dict[str, Any]] = field(default_factory=dict)
    families: dict[str, FamilyState] = field(default_factory=dict)
    results: list[tuple[str, str, int, str]] = field(default_factory=list)
    copies: list[Dead] = field(default_factory=list)

    def add(self, key: str, version: int) -> None:
        """What the extractor does before it publishes."""
        before = self.documents.get(key, {})
        self.documents[key] = {**before, "version": version, "status": NEW, "payload_hash": f"hash of {version}"}


class FakeRecords:
    """Ports `Records` and `Errors`."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def standings(self, entity: Entity, keys: Collection[str]) -> dict[str, Standing]:
        found = {key: self._store.documents[key] for key in keys if key in self._store.documents}
        return {
            key: Standing(
                d["version"], d["status"], d.get("imported_version", 0), d.get("attempts", 0), "last_error" in d
            )
            for key, d in found.items()
        }

    async def imported(self, entity: Entity, keys: Collection[str]) -> set[str]:
        return {key for key in keys if self._store.documents.get(key, {}).get("imported_version", 0) > 0}

    async def mark_done(self, entity: Entity, done: Sequence[Done]) -> set[str]:
        self._store.faults.before("status done")
        late: set[str] = set()
        for one in done:
            document = self._store.documents[one.record.key]
            if document["version"] == one.record.version and "last_error" in document and not one.erred_before:
                late.add(one.record.key)
            elif document["version"] == one.record.version:
                document.update(
                    status=IMPORT_OK,
                    imported_version=one.record.version,
                    imported_hash=document["payload_hash"],
                    target_id=one.target_id or document.get("target_id"),
                )
            elif document["version"] > one.record.version:
                document["imported_version"] = max(document.get("imported_version", 0), one.record.version)
        self._store.faults.done()
        return late

    async def left(self, entity: Entity, most: int) -> dict[str, int]:
        erred = {
            key: document["version"]
            for key, document in self._store.documents.items()
            if document["status"] == IMPORT_OK and "last_error" in document and is_of(entity, key)
        }
        return dict(list(erred.items())[:most])

    async def forgive(self, entity: Entity, versions: Mapping[str, int]) -> None:
        self._store.faults.before("forgive")
        for key, version in versions.items():
            document = self._store.documents.get(key)
            if document is not None and (document["status"], document["version"]) == (IMPORT_OK, version):
                document.pop("last_error", None)
                document.pop("attempts", None)
        self._store.faults.done()

    async def mark_failed(self, entity: Entity, status: str, failed: Sequence[tuple[str, int, int, str]]) -> None:
        self._store.faults.before(f"status {status}")
        for key, version, attempts, code in failed:
            document = self._store.documents.get(key)
            if not document or document["status"] in outlasting(status):
                continue
            if document["version"] == version and document.get("imported_version", 0) < version:
                failed_as = {"attempts": attempts, "last_error": code}
                document.update(status=status, **({"skip_reason": code} if status == SKIPPED else failed_as))
        self._store.faults.done()


class FakeIds:
    """Port `Ids`."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def learn(self, entity: Entity, ids: Mapping[str, str]) -> None:
        self._store.faults.before("id map")
        self._store.ids.update(ids)
        self._store.faults.done()


def _waits_until(rows: Sequence[dict[str, Any]]) -> float | None:
    retries = [_moment(row) for row in rows if row["reason"] == "retry"]
    return retries[0] if retries else 0.0 if any(row["record"].envelope.replay_of for row in rows) else None


class FakeParked:
    """Ports `Parked` and `ParkedView`."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def park(self, rows: Sequence[tuple[ImportRecord, str, datetime | None]]) -> None:
        self._store.faults.before("park")
        for record, reason, not_before in rows:
            row = {"record": record, "reason": reason, "not_before": not_before}
            add_row(self._store.parked, record.raw, row)
        self._store.faults.done()

    async def postpone(self, moments: Mapping[str, datetime]) -> None:
        self._store.faults.before("postpone")
        for place, moment in moments.items():
            self._store.parked[place].update(reason="retry", not_before=moment)
        self._store.faults.done()

    async def drop(self, places: Collection[str]) -> None:
        if not places:
            return
        self._store.faults.before("drop")
        for place in places:
            self._store.parked.pop(place, None)
        self._store.faults.done()

    async def lines(self, partitions: Collection[Partition]) -> list[StoredLine]:
        lines: dict[Line, list[dict[str, Any]]] = {}
        for row in sorted(self._store.parked.values(), key=lambda row: row["record"].raw.offset):
            line = row["record"].line
            if (line.topic, line.partition) in partitions:
                lines.setdefault(line, []).append(row)
        return [StoredLine(line, _waits_until(rows), rows[-1]["record"].raw.offset) for line, rows in lines.items()]

    async def rows(
        self, partition: Partition, parents: Collection[int], room: Room, *, replays: bool = False
    ) -> tuple[list[ParkedRow], int | None]:
        found = [
            row
            for row in self._store.parked.values()
            if (row["record"].raw.topic, row["record"].raw.partition) == partition
            and row["record"].line.parent in parents
            and (row["record"].envelope.replay_of or not replays)
        ]
        found.sort(key=lambda row: (row["record"].line.parent, row["record"].raw.offset))
        taken = found[: room.rows]
        while len(taken) > 1 and sum(len(row["record"].body) for row in taken) > room.size_bytes:
            taken.pop()
        cut = next((row["record"].line.parent for row in found[len(taken) :]), None)
        return [ParkedRow(_stored(row["record"]), _moment(row)) for row in taken], cut

    async def known(self, records: Collection[RawRecord]) -> set[str]:
        return {place_of(record) for record in records if is_row_of(self._store.parked, record)}

    async def counts(self) -> dict[str, int]:
        return {"chat_messages": len(self._store.parked)}


class FakeDeadLetters:
    """Ports `DeadLetters` and `DeadView`."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def open(self, dead: Sequence[Dead]) -> None:
        self._store.faults.before("dead row")
        for one in dead:
            add_row(self._store.dead, one.raw, {"dead": one, "state": "dead", "copied": False})
        self._store.faults.done()

    async def uncopied(self, partitions: Collection[Partition], room: Room) -> list[Dead]:
        rows = [row["dead"] for row in self._store.dead.values() if not row["copied"]]
        taken = [row for row in rows if (row.raw.topic, row.raw.partition) in partitions][: room.rows]
        while len(taken) > 1 and sum(len(row.raw.value or b"") for row in taken) > room.size_bytes:
            taken.pop()
        return taken

    async def copied(self, places: Collection[str], *, keep_raw: bool = False) -> None:
        if not places:
            return
        self._store.faults.before("dead copied")
        for place in places:
            self._store.dead[place]["copied"] = True
        self._store.faults.done()

    async def resolve(self, replayed: Collection[str], newer: Mapping[str, int], *, given_up: bool = False) -> None:
        self._store.faults.before("dead resolved")
        for place, row in self._store.dead.items():
            record = row["dead"].record
            if row["state"] not in ("dead", "replaying"):
                continue
            if place in replayed and row["state"] == "replaying":
                row["state"] = "discarded" if given_up else "replayed"
            elif record is not None and record.version < newer.get(record.key, 0):
                row["state"] = "superseded"
        self._store.faults.done()

    async def known(self, records: Collection[RawRecord]) -> set[str]:
        return {place_of(record) for record in records if is_row_of(self._store.dead, record)}

    async def replaying(self, places: Collection[str]) -> set[str]:
        return {place for place in places if self._store.dead.get(place, {}).get("state") == "replaying"}

    async def last_offsets(self, partitions: Mapping[Partition, int]) -> dict[Partition, int]:
        last: dict[Partition, int] = {}
        for row in self._store.dead.values():
            raw = row["dead"].raw
            partition = Partition(raw.topic, raw.partition)
            if partition in partitions and raw.offset >= partitions[partition]:
                last[partition] = max(raw.offset, last.get(partition, 0))
        return last

    async def holding(self, entity: Entity, parents: Collection[int], *, exhausted_only: bool = False) -> set[int]:
        living = [row["dead"] for row in self._store.dead.values() if row["state"] in ("dead", "replaying")]
        if exhausted_only:
            living = [dead for dead in living if dead.error_class == EXHAUSTED]
        lines = {dead.record.line.parent for dead in living if dead.record and dead.entity is entity}
        return lines & set(parents)


class FakeEvents:
    """Port `Events`."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def imported(self, done: Sequence[Done]) -> None:
        self._store.faults.before("results")
        self._store.results += [("imported", d.record.key, d.record.version, d.status) for d in done]
        self._store.faults.done()

    async def failed(self, dead: Sequence[Dead]) -> None:
        self._store.faults.before("results of dead")
        self._store.results += [("failed", d.record.key, d.record.version, d.code) for d in dead if d.record]
        self._store.faults.done()

    async def copy_dead(self, dead: Sequence[Dead]) -> set[str]:
        self._store.faults.before("copy")
        self._store.copies += dead
        self._store.faults.done()
        return set()


class FakeFamilies:
    """Port `Families`."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def states(self) -> dict[str, FamilyState]:
        return dict(self._store.families)

    async def block(self, family: str, sentence: str | None) -> None:
        before = self._store.families.get(family, FamilyState(set_open=True, blocked=None))
        self._store.families[family] = replace(before, blocked=sentence)

    async def halt(self, family: str, sentence: str) -> None:
        self._store.faults.before("halt")
        before = self._store.families.get(family, FamilyState(set_open=True, blocked=None))
        self._store.families[family] = replace(before, halted=sentence)
        self._store.faults.done()


class FakeSilence:
    """Port `Silence`."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock, self._until = clock, 0.0

    async def ask(self, seconds: float) -> None:
        self._until = max(self._until, self._clock.seconds + seconds)

    async def left_s(self) -> float:
        return max(0.0, self._until - self._clock.seconds)


def is_of(entity: Entity, key: str) -> bool:
    """Which collection the document of this key is in."""
    return entity.key(int(key.rpartition(":")[2])) == key


def _moment(row: Mapping[str, Any]) -> float:
    return row["not_before"].timestamp() if row["not_before"] else 0.0


def _stored(record: ImportRecord) -> StoredRecord:
    return stored(record.raw)
