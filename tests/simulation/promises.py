"""What must hold in every schedule, at each moment and at its end (design: data.md §3 to §5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.log import Log
from tests.simulation.plan import Plan
from tests.simulation.stores import LIVING, BrokenPromiseError, Store
from tests.simulation.target import TargetState

from chatferry.common.documents import ERROR_RETRY, IMPORT_ERR, IMPORT_OK, NEW, SKIPPED
from chatferry.common.entities import ENTITIES
from chatferry.common.streaming.records import Partition
from chatferry.importer.domain.records import EXHAUSTED, PERMANENT, UNDECODABLE, UNKNOWN, ImportRecord, place_of
from chatferry.importer.ports import Dead

CHAT = ENTITIES["chats"]
_ATTEMPTS = 3
_CHANGES = {
    NEW: (IMPORT_OK, IMPORT_ERR, ERROR_RETRY, SKIPPED, NEW),
    ERROR_RETRY: (IMPORT_OK, IMPORT_ERR, ERROR_RETRY, SKIPPED, NEW),
    IMPORT_ERR: (NEW, SKIPPED, IMPORT_ERR, IMPORT_OK),
    IMPORT_OK: (NEW, IMPORT_OK),
    SKIPPED: (NEW, SKIPPED),
}


@dataclass
class Promises:
    """`published`: key and version of each record on a topic, by place; None for one that cannot be read.

    `numbers`: messages of each chat, ascending, as they were first published. `strangers`: keys without a document.
    """

    store: Store
    plan: Plan
    target: TargetState = field(init=False)
    log: Log = field(init=False)
    published: dict[str, tuple[str, int] | None] = field(default_factory=dict)
    numbers: dict[int, list[int]] = field(default_factory=dict)
    strangers: set[str] = field(default_factory=set)
    _discarded: set[int] = field(default_factory=set)

    def written(self, key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """A document changed."""
        if before.get("version", 0) > after["version"] or before.get("imported_version", 0) > after.get(
            "imported_version", 0
        ):
            raise BrokenPromiseError(f"{key}: a version went down: {before} -> {after}")
        if before and before["version"] == after["version"] and after["status"] not in _CHANGES[before["status"]]:
            raise BrokenPromiseError(f"{key}: {before['status']} became {after['status']}")
        if after["status"] == SKIPPED and "msg" not in key:
            self._discarded.add(_number(key))
        imported = after.get("imported_version", 0)
        if imported > before.get("imported_version", 0):
            if ("imported", key, imported) not in self.store.results:
                raise BrokenPromiseError(f"{key}@{imported} is imported, and its result is not published")
            if self.target.stored.get(key, 0) < imported:
                raise BrokenPromiseError(f"{key}@{imported} is imported, and the target does not have it")

    def created(self, record: ImportRecord, call: Sequence[ImportRecord]) -> None:
        """The target takes a record for the first time."""
        if record.entity.parent is None:
            return
        chat = record.line.parent
        if CHAT.key(chat) not in self.target.stored:
            raise BrokenPromiseError(f"{record.key} is at the target before its chat")
        number = _number(record.key)
        together = set() if self.plan.holds else {other.key for other in call}
        for earlier in self.numbers.get(chat, ()):
            key = record.entity.key(earlier)
            if earlier < number and key not in self.target.stored and key not in together and not self._passable(key):
                raise BrokenPromiseError(f"{record.key} overtakes {key}")

    def _passable(self, key: str) -> bool:
        if self.store.documents[key]["status"] == SKIPPED:
            return True
        if self.plan.may_pass_dead and self._refused(key):
            return True
        return any(
            row["state"] not in LIVING or (self.plan.may_pass_dead and row["dead"].error_class != EXHAUSTED)
            for row in self.store.dead.values()
            if _key(row["dead"]) == key
        )

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """The group accepts a commit: each offset below it is accounted for."""
        for partition, offset in offsets.items():
            since = self.log.committed.get(partition, 0)
            for raw in self.log.records[partition][since:offset]:
                if not self._accounted(place_of(raw)):
                    raise BrokenPromiseError(f"{place_of(raw)} is committed and neither done, parked nor dead")

    def _accounted(self, place: str) -> bool:
        if place in self.store.parked or place in self.store.dead:
            return True
        told = self.published[place]
        if told is None:
            return False
        key, version = told
        document = self.store.documents.get(key, {})
        if document.get("imported_version", 0) >= version or self._set_aside(key):
            return True
        return any(
            _key(row["dead"]) == key and row["dead"].record.version == version for row in self.store.dead.values()
        )

    def _set_aside(self, key: str) -> bool:
        """An operator has discarded it, or its chat: then its older contents end without a word, too."""
        if self.store.documents.get(key, {}).get("status") == SKIPPED:
            return True
        return "msg" in key and _number(key) % 100 in self._discarded

    def unsettled(self) -> str | None:
        """What is not at its end yet; None when nothing is."""
        if not self.log.all_committed():
            return "not all offsets are committed"
        for place, row in self.store.dead.items():
            if not row["copied"] or (row["state"] == "replaying" and not self._replay_waits(place)):
                return f"dead letter {place} is {row['state']}, copied: {row['copied']}"
        for place, row in self.store.parked.items():
            if not self._may_wait(row["record"]):
                return f"{place} is parked ({row['reason']})"
        for key, document in self.store.documents.items():
            if document["status"] in (NEW, ERROR_RETRY) and not self._is_parked(key, document["version"]):
                return f"{key} is {document['status']} and not parked"
        return None

    def _replay_waits(self, place: str) -> bool:
        rows = (row["record"] for row in self.store.parked.values())
        return any(record.envelope.replay_of == place and self._may_wait(record) for record in rows)

    def _is_parked(self, key: str, version: int) -> bool:
        return any((r["record"].key, r["record"].version) == (key, version) for r in self.store.parked.values())

    def _may_wait(self, record: ImportRecord) -> bool:
        chat = CHAT.key(record.line.parent)
        if record.entity.parent is not None and not self.store.documents.get(chat, {}).get("imported_version"):
            return True
        holding = [row["dead"] for row in self.store.dead.values() if row["state"] in LIVING]
        return any(
            dead.record is not None
            and dead.record.line == record.line
            and (not self.plan.may_pass_dead or (dead.error_class == EXHAUSTED and record.entity.parent is not None))
            for dead in holding
        )

    def at_the_end(self) -> None:
        """All has come to rest."""
        if (what := self.unsettled()) is not None:
            raise BrokenPromiseError(f"at the end {what}")
        for key, document in self.store.documents.items():
            self._ended(key, document)
        for place, row in self.store.dead.items():
            self._died(place, row)
        for told in self.published.values():
            if told is not None:
                self._told(*told)

    def _ended(self, key: str, document: Mapping[str, Any]) -> None:
        status, version = document["status"], document["version"]
        living = {
            row["dead"].record.version
            for row in self.store.dead.values()
            if row["state"] in LIVING and _key(row["dead"]) == key
        }
        if living and min(living) <= document.get("imported_version", 0):
            raise BrokenPromiseError(f"{key} is imported and has a living dead letter")
        if status == IMPORT_ERR and version not in living:
            raise BrokenPromiseError(f"{key} is {status} and has no living dead letter")
        if status == IMPORT_OK:
            if document.get("imported_version") != version or self.target.stored.get(key) != version:
                raise BrokenPromiseError(f"{key} is {status} and the target has {self.target.stored.get(key)}")
            if "msg" not in key and key not in self.store.ids:
                raise BrokenPromiseError(f"{key} is {status} and the id map does not know it")

    def _died(self, place: str, row: Mapping[str, Any]) -> None:
        dead: Dead = row["dead"]
        if place not in self.store.copies:
            raise BrokenPromiseError(f"dead letter {place} has no copy")
        blame, key = self.target.blame, _key(dead)
        if dead.error_class == UNDECODABLE:
            fair = self.published[place] is None
        elif dead.error_class == UNKNOWN:
            fair = key in self.strangers
        elif dead.error_class == PERMANENT:
            fair = self._refused(str(key))
        else:
            own = sum(blame[str(key), kind] for kind in ("retry", "poison", "alone"))
            fair = own + (blame[str(key), "blip"] if own else 0) >= _ATTEMPTS
        if not fair:
            raise BrokenPromiseError(f"{key} is dead ({dead.error_class}) by no fault of its own: {dict(blame)}")

    def _refused(self, key: str) -> bool:
        return self.target.blame[key, "refuse"] + self.target.blame[key, "reject"] > 0

    def _told(self, key: str, version: int) -> None:
        results = self.store.results
        if ("imported", key, version) in results or ("failed", key, version) in results:
            return
        if not self._set_aside(key) and not self._is_parked(key, version):
            raise BrokenPromiseError(f"no result of {key}@{version} was published")


def _number(key: str) -> int:
    return int(key.rpartition(":")[2])


def _key(dead: Dead) -> str | None:
    return None if dead.record is None else dead.record.key
