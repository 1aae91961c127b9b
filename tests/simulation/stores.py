"""Record documents in memory, written request by request and row by row as the real adapter writes.

Each row is written at once; a request that writes many may be cut off between any two of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from tests.unit.importer.fakes import is_of

from chatferry.common.documents import IMPORT_OK, NEW, SKIPPED
from chatferry.common.entities import Entity
from chatferry.common.errors import OutageError
from chatferry.common.streaming.records import Partition
from chatferry.importer.domain.standing import FamilyState, Standing, outlasting
from chatferry.importer.ports import Done

LIVING = ("dead", "replaying")
Row = dict[str, Any]
Effects = Sequence[Callable[[], Any]]


class BrokenPromiseError(AssertionError):
    """One of the promises does not hold."""


class Asking(Protocol):
    """How a request goes out: `of` is part and what."""

    def __call__(self, of: tuple[str, str], effects: Effects, refuse: Callable[[], Exception]) -> Awaitable[Any]: ...


@dataclass
class Store:
    """Every collection, and the topics that only the importer writes. `watch` sees each document that was written."""

    watch: Callable[[str, Row, Row], None] = field(default=lambda _key, _before, _after: None)
    documents: dict[str, Row] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    parked: dict[str, Row] = field(default_factory=dict)
    dead: dict[str, Row] = field(default_factory=dict)
    families: dict[str, FamilyState] = field(default_factory=dict)
    results: set[tuple[str, str, int]] = field(default_factory=set)
    copies: set[str] = field(default_factory=set)
    moment: int = 0

    def next_moment(self) -> int:
        """What comes later has a higher one."""
        self.moment += 1
        return self.moment

    def add(self, key: str, version: int) -> None:
        """What the extractor does before it publishes."""
        self.write(key, version=version, status=NEW, payload_hash=f"hash of {version}")

    def write(self, key: str, **fields: Any) -> None:
        """Set fields of one document; None takes a field away."""
        before = self.documents.get(key, {})
        after = {name: value for name, value in {**before, **fields}.items() if value is not None}
        self.documents[key] = after
        self.watch(key, before, after)


def mongo_away() -> Exception:
    """What a port on MongoDB raises."""
    return OutageError("mongodb", "away")


def bound(call: Callable[..., Any], *values: Any) -> Callable[[], Any]:
    """One effect of a request; its answer is empty."""
    return lambda: call(*values) and None


class Port:
    """A view of the store; each of its methods is one request or several.

    `learnt`: when this process has learnt, by partition, which dead letters there are.
    """

    def __init__(self, store: Store, ask: Asking, learnt: dict[Partition, int] | None = None) -> None:
        self._store, self._ask = store, ask
        self._learnt = {} if learnt is None else learnt

    async def _write(self, what: str, effects: Effects) -> Any:
        return await self._ask(("mongodb", what), effects, mongo_away)

    async def _read(self, what: str, look: Callable[[], Any]) -> Any:
        return await self._ask(("mongodb", what), [look], mongo_away)


class SimulatedRecords(Port):
    """Port `Records`."""

    async def standings(self, entity: Entity, keys: Collection[str]) -> dict[str, Standing]:
        del entity
        documents = self._store.documents

        def look() -> dict[str, Standing]:
            return {key: _standing(documents[key]) for key in keys if key in documents}

        return await self._read("standings", look)  # type: ignore[no-any-return]

    async def imported(self, entity: Entity, keys: Collection[str]) -> set[str]:
        del entity
        documents = self._store.documents

        def look() -> set[str]:
            return {key for key in keys if documents.get(key, {}).get("imported_version", 0) > 0}

        return await self._read("imported?", look)  # type: ignore[no-any-return]

    async def mark_done(self, entity: Entity, done: Sequence[Done]) -> set[str]:
        del entity
        told = {(one.record.key, one.record.version): one for one in done}
        if not told:
            return set()
        matched: list[str] = []

        def unforeseen(key: str, one: Done) -> bool:
            document = self._store.documents.get(key)
            if document is None or document["version"] != one.record.version:
                return False
            return document.get("last_error") is not None and not one.erred_before

        def mark(key: str, one: Done) -> None:
            document = self._store.documents.get(key)
            if document is not None and document["version"] == one.record.version and not unforeseen(key, one):
                matched.append(key)
                self._store.write(
                    key,
                    status=IMPORT_OK,
                    imported_version=one.record.version,
                    imported_hash=document["payload_hash"],
                    target_id=one.target_id or document.get("target_id"),
                )

        def supersede(key: str, version: int) -> None:
            document = self._store.documents.get(key)
            if document is not None and document["version"] > version:
                self._store.write(key, imported_version=max(document.get("imported_version", 0), version))

        named = ", ".join(f"{key}@{version}" for key, version in told)
        await self._write(f"status done {named}", [bound(mark, key, one) for (key, _), one in told.items()])
        if len(matched) == len(told):
            return set()
        await self._write(f"superseded {named}", [bound(supersede, *each) for each in told])

        def look() -> set[str]:
            return {key for (key, _), one in told.items() if unforeseen(key, one)}

        return await self._read("erred?", look)  # type: ignore[no-any-return]

    async def left(self, entity: Entity, most: int) -> dict[str, int]:
        def look() -> dict[str, int]:
            erred = {
                key: document["version"]
                for key, document in self._store.documents.items()
                if document["status"] == IMPORT_OK and document.get("last_error") and is_of(entity, key)
            }
            return dict(list(erred.items())[:most])

        return await self._read("errors left", look)  # type: ignore[no-any-return]

    async def forgive(self, entity: Entity, versions: Mapping[str, int]) -> None:
        del entity

        def forgive(key: str) -> None:
            document = self._store.documents.get(key)
            if document is not None and (document["status"], document["version"]) == (IMPORT_OK, versions[key]):
                self._store.write(key, last_error=None, attempts=None)

        await self._write(f"forgiven {', '.join(sorted(versions))}", [bound(forgive, key) for key in sorted(versions)])

    async def mark_failed(self, entity: Entity, status: str, failed: Sequence[tuple[str, int, int, str]]) -> None:
        del entity

        def mark(key: str, version: int, attempts: int, code: str) -> None:
            document = self._store.documents.get(key)
            if not document or document["status"] in outlasting(status):
                return
            if document["version"] == version and document.get("imported_version", 0) < version:
                failed_as = {"attempts": attempts, "last_error": code}
                self._store.write(key, status=status, **({"skip_reason": code} if status == SKIPPED else failed_as))

        if failed:
            named = ", ".join(f"{key}@{version}" for key, version, _, _ in failed)
            await self._write(f"status {status} {named}", [bound(mark, *one) for one in failed])


class SimulatedIds(Port):
    """Port `Ids`."""

    async def learn(self, entity: Entity, ids: Mapping[str, str]) -> None:
        del entity
        if ids:
            await self._write("id map", [bound(self._store.ids.__setitem__, *one) for one in ids.items()])


class SimulatedFamilies(Port):
    """Port `Families`."""

    async def states(self) -> dict[str, FamilyState]:
        return await self._read("states", lambda: dict(self._store.families))  # type: ignore[no-any-return]

    async def block(self, family: str, sentence: str | None) -> None:
        await self._write(f"block {sentence}", [lambda: self._change(family, blocked=sentence)])

    async def halt(self, family: str, sentence: str) -> None:
        await self._write("halt", [lambda: self._change(family, halted=sentence)])

    def _change(self, family: str, **fields: Any) -> None:
        self._store.families[family] = replace(self._store.families[family], **fields)


def _standing(row: Row) -> Standing:
    imported, attempts = row.get("imported_version", 0), row.get("attempts", 0)
    return Standing(row["version"], row["status"], imported, attempts, "last_error" in row)
