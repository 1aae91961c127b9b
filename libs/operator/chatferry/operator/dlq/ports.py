"""What a replay needs from outside. Every method may raise OutageError."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chatferry.operator.dlq.selection import Selection

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter that is to be sent again. `key` and `version` are null for a record that could not be read.

    `copy`: partition and offset on `dlq`; null as long as nobody has looked for it.
    """

    id: str
    entity: str
    topic: str
    key: str | None
    version: int | None
    copy: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Content:
    """The record byte for byte, as its topic had it."""

    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a replay is about. `fresh` were dead, `cut_off` an earlier replay has not sent, `on_the_way` it has.

    `rejects` and `unsettled` are left as they are: no record of a topic, and not written down whole yet.
    """

    fresh: int = 0
    cut_off: int = 0
    on_the_way: int = 0
    rejects: int = 0
    unsettled: int = 0

    @property
    def to_send(self) -> int:
        return self.fresh + self.cut_off


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a replay ended: `arrived` at the target, `superseded` by newer content, died `again` (by code).

    `given_up`: what was discarded, by itself or with its parent. `left`: has no end yet.
    """

    arrived: int = 0
    superseded: int = 0
    again: Mapping[str, int] = field(default_factory=dict)
    left: int = 0
    given_up: int = 0


class Letters(Protocol):
    """The rows of one replay, by its name."""

    async def claim(self, selection: Selection) -> Claimed:
        """Selected rows that are dead, or on the way, belong to this replay now. Repeating it claims nothing new."""

    async def unsent(self, most: int) -> list[Letter]:
        """The next ones to be sent: each line's in the order of its records."""

    async def sent(self, ids: Collection[str]) -> None:
        """The broker has answered for these."""

    async def set_back(self, reasons: Mapping[str, str]) -> None:
        """These cannot be sent (reason by id): dead again, with all else as it was."""


class Contents(Protocol):
    """The bytes of dead letters."""

    async def read(self, letters: Sequence[Letter]) -> dict[str, Content]:
        """By id; what is nowhere to be found is left out."""


class Records(Protocol):
    """The record documents."""

    async def renew(self, letters: Sequence[Letter]) -> set[str]:
        """IMPORT_ERR becomes NEW, by key and version. Returns the ids of letters that have ended instead: newer content
        has superseded them, or their records are skipped, by a discard that was cut off."""


class Outlet(Protocol):
    """Where the bytes go."""

    async def send(self, letters: Sequence[tuple[Letter, Content]]) -> set[str]:
        """In the given order on each partition, with the header `replay-of`; returns when the broker has answered for
        all, with the ids of those that are too large."""


class Watch(Protocol):
    """How far the importers are with a replay."""

    async def left(self) -> int:
        """Rows that are on the way still."""

    async def outcome(self) -> Outcome:
        """What has become of all of them."""
