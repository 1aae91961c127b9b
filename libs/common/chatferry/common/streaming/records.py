"""What a consumer hands over and a producer takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Partition(NamedTuple):
    """One partition of one topic; equal to aiokafka's own tuple."""

    topic: str
    partition: int


class RawRecord(Protocol):
    """A record as Kafka has it: nothing decoded, anything may be null or broken."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


def partition_of(record: RawRecord) -> Partition:
    """Where a record stands."""
    return Partition(record.topic, record.partition)


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A RawRecord out of a collection or a test."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be sent. `topic` is the full name; records of one key go to one partition."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
