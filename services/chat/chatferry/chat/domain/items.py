"""What an item of a batch must be, and what becomes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NewType, TypedDict

import orjson

from chatferry.chat.domain.model import SHAPES, Document, Shape
from chatferry.chat.domain.times import UnkeepableTimeError
from chatferry.common.contracts.canonical import canonical_json, hash_of_canonical
from chatferry.common.entities import ENTITIES, Entity

SourceId = NewType("SourceId", int)
TargetId = NewType("TargetId", int)
_WIDEST = 2**53
_NUMBER = re.compile("0|-?[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class Kind:
    """One entity as the target serves it."""

    entity: Entity
    shape: Shape

    @property
    def parent(self) -> Kind | None:
        """The entity that its records hang under; None for an entity without a parent."""
        name = self.entity.parent
        return Kind(ENTITIES[name], SHAPES[name]) if name else None

    @property
    def parent_prefix(self) -> str | None:
        """How the keys of its parents begin; None for an entity without a parent."""
        return ENTITIES[self.entity.parent].key_prefix if self.entity.parent else None

    def source_of(self, key: str) -> SourceId | None:
        """The source id in a key of this entity; None for any other text."""
        return source_id(self.entity.key_prefix, key)


def source_id(prefix: str, key: str) -> SourceId | None:
    """The number after the prefix, written as `Entity.key` writes it; None for any other text."""
    text = key.removeprefix(prefix)
    if text == key or not _NUMBER.fullmatch(text) or abs(int(text)) > _WIDEST:
        return None
    return SourceId(int(text))


def kinds_of(family: str) -> dict[str, Kind]:
    """The entities of a family that this target keeps, by name."""
    return {
        name: Kind(entity, SHAPES[name])
        for name, entity in ENTITIES.items()
        if entity.family == family and name in SHAPES
    }


class RefusedItemError(Exception):
    """This item cannot be kept. `code` is stable; the text is one sentence without anything of the input."""

    def __init__(self, code: str, sentence: str, *, retryable: bool = False) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class Stored:
    """What the target has of a record already."""

    id: TargetId
    version: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item: done with the target's id, or refused."""

    key: str
    status: str
    id: TargetId | None = None
    refusal: RefusedItemError | None = None

    def as_json(self) -> dict[str, Any]:
        """The item's entry in the answer (`contracts.target.ItemResult`); what does not apply is left out."""
        if self.refusal is None:
            return {"key": self.key, "status": self.status, "id": str(self.id)}
        return {
            "key": self.key,
            "status": "error",
            "code": self.refusal.code,
            "message": self.refusal.sentence,
            "retryable": self.refusal.retryable,
        }


def refused(key: str, refusal: RefusedItemError) -> Outcome:
    """The outcome of an item that cannot be kept."""
    return Outcome(key, "error", refusal=refusal)


class Item(TypedDict):
    """An item whose `data` has the form of its entity's record (`wire` sees to it; `contracts.target.ImportItem`)."""

    key: str
    version: int
    hash: str
    data: dict[str, Any]


def document_of(kind: Kind, item: Item, record_bytes_max: int) -> Document:
    """The document to keep, without the target ids of itself and its parent. Raises RefusedItemError."""
    data = item["data"]
    if item["key"] != kind.entity.key(data["id"]):
        raise RefusedItemError("KEY_MISMATCH", "key is not that of the record's id")
    canonical = _canonical(data)
    if len(canonical) > record_bytes_max:
        raise RefusedItemError("RECORD_TOO_LARGE", f"data is larger than {record_bytes_max} bytes of canonical JSON")
    if hash_of_canonical(canonical) != item["hash"]:
        raise RefusedItemError("HASH_MISMATCH", "hash is not the SHA-256 of data's canonical JSON")
    try:
        document = kind.shape.keep(data)
    except UnkeepableTimeError as wrong:
        raise RefusedItemError("INVALID_DATA", f"a time's utc: {wrong}") from None
    document["version"] = item["version"]
    document["hash"] = item["hash"]
    return document


def _canonical(data: Mapping[str, Any]) -> bytes:
    """Canonical JSON of validated data. orjson's own 53-bit check costs nothing, but stops one short of 2^53."""
    try:
        return orjson.dumps(data, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)
    except TypeError:
        if any(abs(number) > _WIDEST for number in _integers(data)):
            raise RefusedItemError("INVALID_DATA", "a number is beyond 2^53") from None
        return canonical_json(data)


def _integers(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _integers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _integers(inner)


def waves(keys: Sequence[str]) -> list[list[int]]:
    """Positions of a batch's items in rounds: the n-th item of a key is in round n, so a key's items go in order."""
    if len(set(keys)) == len(keys):
        return [list(range(len(keys)))]
    seen: dict[str, int] = {}
    rounds: list[list[int]] = []
    for position, key in enumerate(keys):
        turn = seen[key] = seen.get(key, -1) + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(position)
    return rounds


def standing(stored: Stored, version: int) -> str | None:
    """What a version is to the stored one: `unchanged`, `stale`, or None when it should replace it."""
    if stored.version == version:
        return "unchanged"
    return "stale" if stored.version > version else None
