"""One record as either side states it, without its content at the source's side."""

from __future__ import annotations

from typing import Any, NamedTuple


class SourceLine(NamedTuple):
    """A record's document without its payload. What the importer knows is None for one that never reached the target;
    `target_id`: the id that the target gave it, None when it gave none."""

    key: str
    seq: int
    version: int
    hash: str
    status: str
    imported_version: int | None
    flags: tuple[str, ...]
    imported_hash: str | None
    target_id: str | None


class TargetItem(NamedTuple):
    """A record as the target gives it back. `seq` is the number at the key's end; None: the key has none."""

    key: str
    id: str
    seq: int | None
    version: int
    hash: str
    data: dict[str, Any]


def seq_of(key: str) -> int | None:
    """The number at a key's end: its place among the records of its parent."""
    tail = key.rpartition(":")[2]
    return int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 20 else None
