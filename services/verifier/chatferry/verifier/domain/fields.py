"""Where two contents differ: path, lengths, first position and hash prefixes, never the contents themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

_PREFIX = 12
ABSENT = object()


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field that differs. Lengths and position count characters of a text, else of the value's JSON.

    A side that lacks the field has length and hash None. Hashes are the first digits of SHA-256 over the value's JSON.
    """

    path: str
    source_length: int | None
    target_length: int | None
    position: int
    source_hash: str | None
    target_hash: str | None

    def as_detail(self) -> dict[str, Any]:
        """The shape kept in `mismatches`."""
        return {
            "source_length": self.source_length,
            "target_length": self.target_length,
            "position": self.position,
            "source_hash": self.source_hash,
            "target_hash": self.target_hash,
        }


def differences(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[FieldDifference]:
    """Every field that differs, by path (`text`, `sent_at.utc`, `files[0].name`), in the order of the paths."""
    return sorted(_of_mappings("", source, target), key=lambda difference: difference.path)


def _of_mappings(path: str, source: Mapping[str, Any], target: Mapping[str, Any]) -> Iterator[FieldDifference]:
    for name in {**source, **target}:
        yield from _of_values(f"{path}.{name}" if path else name, source.get(name, ABSENT), target.get(name, ABSENT))


def _of_values(path: str, source: Any, target: Any) -> Iterator[FieldDifference]:
    if isinstance(source, Mapping) and isinstance(target, Mapping):
        yield from _of_mappings(path, source, target)
    elif _alike_lists(source, target):
        for place, (one, other) in enumerate(zip(source, target, strict=True)):
            yield from _of_values(f"{path}[{place}]", one, other)
    elif source is ABSENT or target is ABSENT or _json(source) != _json(target):
        yield _difference(path, source, target)


def _alike_lists(source: Any, target: Any) -> bool:
    """Lists of objects are compared place by place; lists of ids as one value, or one lost id would name them all."""
    return (
        isinstance(source, Sequence)
        and isinstance(target, Sequence)
        and not isinstance(source, str)
        and not isinstance(target, str)
        and len(source) == len(target)
        and all(isinstance(value, Mapping) for value in (*source, *target))
    )


def _difference(path: str, source: Any, target: Any) -> FieldDifference:
    one, other = _shown(source), _shown(target)
    return FieldDifference(
        path=path,
        source_length=None if one is None else len(one),
        target_length=None if other is None else len(other),
        position=_first_position(one or "", other or ""),
        source_hash=_hash_prefix(source),
        target_hash=_hash_prefix(target),
    )


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _shown(value: Any) -> str | None:
    if value is ABSENT:
        return None
    return value if isinstance(value, str) else _json(value).decode()


def _hash_prefix(value: Any) -> str | None:
    return None if value is ABSENT else hashlib.sha256(_json(value)).hexdigest()[:_PREFIX]


def _first_position(one: str, other: str) -> int:
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))
