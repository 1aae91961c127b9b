"""The target's ports in memory, with the faults that a test wants."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from chatferry.chat.domain.items import Kind, RefusedItemError, SourceId, Stored, TargetId
from chatferry.chat.domain.model import Document
from chatferry.chat.ports import Inserted
from chatferry.common.errors import OutageError


@dataclass
class MemoryRecords:
    """`ports.Records`. `before_replace` runs once, as another writer would, right before the next replace."""

    kept: dict[tuple[str, SourceId], Document] = field(default_factory=dict)
    away: bool = False
    refuse: frozenset[int] = frozenset()
    before_replace: Callable[[], None] | None = None
    reads: int = 0

    async def insert(self, kind: Kind, documents: Sequence[Document]) -> Inserted:
        self._reach()
        for position, document in enumerate(documents):
            if document["_id"] in self.refuse:
                return Inserted(position, RefusedItemError("NOT_KEPT", "refused", retryable=True))
            if (kind.shape.collection, document["_id"]) in self.kept:
                return Inserted(position)
            self.kept[kind.shape.collection, document["_id"]] = dict(document)
        return Inserted(len(documents))

    async def stored(self, kind: Kind, ids: Collection[SourceId]) -> dict[SourceId, Stored]:
        self._reach()
        self.reads += 1
        found = {source: self.kept.get((kind.shape.collection, source)) for source in ids}
        return {
            source: Stored(TargetId(document["target_id"]), document["version"])
            for source, document in found.items()
            if document is not None
        }

    async def replace(self, kind: Kind, documents: Sequence[Document]) -> int:
        self._reach()
        if self.before_replace is not None:
            self.before_replace()
            self.before_replace = None
        replaced = 0
        for document in documents:
            place = (kind.shape.collection, document["_id"])
            if place in self.kept and self.kept[place]["version"] < document["version"]:
                self.kept[place] = dict(document)
                replaced += 1
        return replaced

    def _reach(self) -> None:
        if self.away:
            raise OutageError("mongodb", "away")


@dataclass
class MemoryIds:
    """`ports.Ids`."""

    last: int = 0

    async def take(self, kind: Kind, count: int) -> Sequence[TargetId]:
        del kind
        self.last += count
        return [TargetId(number) for number in range(self.last - count + 1, self.last + 1)]
