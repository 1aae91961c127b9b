"""The story of a call: a batch is checked, its new records are inserted, the rest replaces what is older."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatferry.chat.domain.items import (
    Item,
    Kind,
    Outcome,
    RefusedItemError,
    SourceId,
    Stored,
    TargetId,
    document_of,
    refused,
    standing,
    waves,
)
from chatferry.chat.domain.model import Document
from chatferry.chat.domain.positions import Marks
from chatferry.chat.ports import Ids, Reader, Records
from chatferry.common.contracts.target import BEHIND, PARENT_MISSING

_PARENT_MISSING = RefusedItemError(PARENT_MISSING, "the record's parent is not at the target: import it first")
_BEHIND = RefusedItemError(BEHIND, "an earlier record of its parent is to be sent again first", retryable=True)
_CONFLICT = RefusedItemError("CONFLICT", "another write came between: send it again", retryable=True)


@dataclass(frozen=True, slots=True)
class KnownParents:
    """Target ids of the parents seen last, at most `most`. Parents are never removed: what was seen stays true."""

    most: int
    _ids: OrderedDict[tuple[str, SourceId], TargetId] = field(default_factory=OrderedDict)

    def get(self, entity: str, source: SourceId) -> TargetId | None:
        """The parent's target id, if it is still remembered."""
        return self._ids.get((entity, source))

    def learn(self, entity: str, source: SourceId, target: TargetId) -> None:
        """Remember a parent, forgetting the one learnt first when there are too many."""
        self._ids[entity, source] = target
        if len(self._ids) > self.most:
            self._ids.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Importing:
    """`import.<family>.batch`. Safe to call again with the same items, at once or in any order."""

    records: Records
    ids: Ids
    parents: KnownParents
    record_bytes_max: int

    async def batch(self, kind: Kind, parent: Kind | None, items: Sequence[Item]) -> list[Outcome]:
        """One outcome per item, in the order of the items. Raises OutageError: then send the same batch again."""
        outcomes: dict[int, Outcome] = {}
        holding = _Holding(kind, outcomes)
        for positions in waves([item["key"] for item in items]):
            wave = self._checked(kind, items, positions, outcomes)
            if parent is not None and wave:
                wave = await self._with_parents(kind, parent, wave, outcomes)
            if wave:
                await self._written(kind, holding.without_held(wave), holding)
        return [outcomes[position] for position in range(len(items))]

    def _checked(
        self, kind: Kind, items: Sequence[Item], positions: Sequence[int], outcomes: dict[int, Outcome]
    ) -> list[_Entry]:
        wave = []
        for position in positions:
            item = items[position]
            try:
                wave.append(_Entry(position, item["key"], document_of(kind, item, self.record_bytes_max)))
            except RefusedItemError as refusal:
                outcomes[position] = refused(item["key"], refusal)
        return wave

    async def _with_parents(
        self, kind: Kind, parent: Kind, wave: Sequence[_Entry], outcomes: dict[int, Outcome]
    ) -> list[_Entry]:
        field_name, reference = kind.shape.parent_field, kind.shape.parent_ref
        assert field_name is not None
        assert reference is not None
        found = await self._parent_ids(parent, {entry.document[field_name] for entry in wave})
        kept = []
        for entry in wave:
            target = found.get(entry.document[field_name])
            if target is None:
                outcomes[entry.position] = refused(entry.key, _PARENT_MISSING)
            else:
                entry.document[reference] = target
                kept.append(entry)
        return kept

    async def _parent_ids(self, parent: Kind, sources: Collection[SourceId]) -> dict[SourceId, TargetId]:
        name = parent.entity.name
        found = {source: known for source in sources if (known := self.parents.get(name, source)) is not None}
        unknown = [source for source in sources if source not in found]
        if unknown:
            for source, stored in (await self.records.stored(parent, unknown)).items():
                found[source] = stored.id
                self.parents.learn(name, source, stored.id)
        return found

    async def _written(self, kind: Kind, wave: Sequence[_Entry], holding: _Holding) -> None:
        outcomes = holding.outcomes
        for entry, target in zip(wave, await self.ids.take(kind, len(wave)), strict=True):
            entry.document["target_id"] = target
        present: list[_Entry] = []
        while wave:
            inserted = await self.records.insert(kind, [entry.document for entry in wave])
            for entry in wave[: inserted.kept]:
                outcomes[entry.position] = Outcome(entry.key, "created", entry.document["target_id"])
            wave = wave[inserted.kept :]
            if wave and inserted.stopped_by is not None:
                wave = holding.refuse_first(wave, inserted.stopped_by)
            elif wave:
                # One that is there is seldom alone: a batch that came before comes whole.
                there = {wave[0].source, *await self.records.stored(kind, [entry.source for entry in wave])}
                present += [entry for entry in wave if entry.source in there]
                wave = [entry for entry in wave if entry.source not in there]
        if present:
            await self._renewed(kind, present, outcomes)

    async def _renewed(self, kind: Kind, wave: Sequence[_Entry], outcomes: dict[int, Outcome]) -> None:
        stored = await self.records.stored(kind, [entry.source for entry in wave])
        newer = [entry for entry in wave if not _settled(entry, stored, outcomes)]
        if not newer:
            return
        for entry in newer:
            entry.document["target_id"] = stored[entry.source].id
        replaced = await self.records.replace(kind, [entry.document for entry in newer])
        if replaced < len(newer):
            # Somebody else wrote some of them meanwhile: what is there now decides.
            stored = await self.records.stored(kind, [entry.source for entry in newer])
            newer = [entry for entry in newer if not _settled(entry, stored, outcomes)]
            for entry in newer:
                outcomes[entry.position] = refused(entry.key, _CONFLICT)
            return
        for entry in newer:
            outcomes[entry.position] = Outcome(entry.key, "updated", stored[entry.source].id)


@dataclass(frozen=True, slots=True)
class _Holding:
    """Parents of which a record is to be sent again: none that follows in the same batch may overtake it."""

    kind: Kind
    outcomes: dict[int, Outcome]
    _parents: set[SourceId] = field(default_factory=set)

    def refuse_first(self, wave: Sequence[_Entry], refusal: RefusedItemError) -> Sequence[_Entry]:
        first, *later = wave
        self.outcomes[first.position] = refused(first.key, refusal)
        name = self.kind.shape.parent_field
        if name is None or not refusal.retryable:
            return later
        self._parents.add(first.document[name])
        return self.without_held(later)

    def without_held(self, wave: Sequence[_Entry]) -> Sequence[_Entry]:
        name = self.kind.shape.parent_field
        if name is None or not self._parents:
            return wave
        behind = [entry for entry in wave if entry.document[name] in self._parents]
        self.outcomes.update({entry.position: refused(entry.key, _BEHIND) for entry in behind})
        return [entry for entry in wave if entry.position not in self.outcomes]


@dataclass(frozen=True, slots=True)
class _Entry:
    position: int
    key: str
    document: Document

    @property
    def source(self) -> SourceId:
        return SourceId(self.document["_id"])


def _settled(entry: _Entry, stored: dict[SourceId, Stored], outcomes: dict[int, Outcome]) -> bool:
    """Whether what is stored decides the item already: then its outcome is noted."""
    there = stored.get(entry.source)
    if there is None:
        outcomes[entry.position] = refused(entry.key, _CONFLICT)
        return True
    status = standing(there, entry.document["version"])
    if status is not None:
        outcomes[entry.position] = Outcome(entry.key, status, there.id)
    return status is not None


@dataclass(frozen=True, slots=True)
class Reading:
    """`import.<family>.count`, `.get` and `.list`: everything told from the target's own model."""

    reader: Reader
    marks: Marks

    async def count(self, kind: Kind, parent: SourceId | None) -> int:
        """How many records there are, of one parent or in all."""
        return await self.reader.count(kind, parent)

    async def get(self, kind: Kind, keys: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
        """The records of these keys in the order asked, each once, and the keys that are not there."""
        wanted = dict.fromkeys(keys)
        ids = {source: key for key in wanted if (source := kind.source_of(key)) is not None}
        found = {ids[document["_id"]]: document for document in await self.reader.some(kind, ids)}
        items = await self._told(kind, [found[key] for key in wanted if key in found])
        return items, [key for key in wanted if key not in found]

    async def _told(self, kind: Kind, documents: Sequence[Document]) -> list[dict[str, Any]]:
        """Told from where each hangs, not from what came in: a reference that leads nowhere has no parent to tell."""
        parent, field_name, reference = kind.parent, kind.shape.parent_field, kind.shape.parent_ref
        if parent is not None:
            assert field_name is not None
            assert reference is not None
            targets = [document.get(reference) for document in documents]
            numbers = {TargetId(target) for target in targets if isinstance(target, int)}
            sources = await self.reader.sources(parent, numbers) if numbers else {}
            for document, target in zip(documents, targets, strict=True):
                document[field_name] = sources.get(TargetId(target)) if isinstance(target, int) else None
        return [told(kind, document) for document in documents]

    async def list(
        self, kind: Kind, parent: SourceId | None, after: str | None, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page by ascending source id, and the mark of the next one. Raises ForeignMarkError."""
        listing = f"{kind.entity.name} {'' if parent is None else parent}"
        page = await self.reader.page(kind, parent, None if after is None else self.marks.read(listing, after), limit)
        following = self.marks.write(listing, page.documents[-1]["_id"]) if page.more else None
        return await self._told(kind, page.documents), following


def told(kind: Kind, document: Document) -> dict[str, Any]:
    """A stored document as the protocol gives it (`contracts.target.StoredItem`)."""
    return {
        "key": kind.entity.key(document["_id"]),
        "id": str(document["target_id"]),
        "version": document["version"],
        "hash": document["hash"],
        "data": kind.shape.tell(document),
    }
