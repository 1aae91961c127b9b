"""What is due, and where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from chatferry.common.entities import Entity, Family
from chatferry.common.streaming.records import Outgoing


@dataclass(frozen=True, slots=True)
class Due:
    """A record whose version the broker has not answered for."""

    entity: Entity
    key: str
    version: int
    seq: int
    parent: int | None
    body: bytes
    """Canonical JSON."""
    flagged: bool = True
    """Due by a flag of its own, not by its root's mark alone."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records that are due because their root is new. `marks`: root -> up to which id they are sent then, None: all."""

    records: list[Due]
    marks: dict[int, int | None]


class Unsent(Protocol):
    """Children of new roots: all above the mark in the root's row are due. One write a chunk, not one a record."""

    async def unsent(self, entity: Entity, roots: Sequence[int] | None, limit: int) -> Chunk | None:
        """The next chunk in order of root and id, of these roots or of all whose walk has ended; None when none is."""

    async def sent(self, entity: Entity, chunk: Chunk, epoch: int) -> None:
        """The broker has answered for them. LeaseLostError when a newer epoch owns a row."""


@dataclass(frozen=True, slots=True)
class DueParents:
    """Roots with due children: those that were read to the end, so that their children may go out, and the last."""

    ended: list[int]
    last: int


class Outbox(Protocol):
    """What is due, known from the store alone (data.md §3)."""

    async def due(self, entity: Entity, parents: Sequence[int] | None, limit: int) -> list[Due]:
        """The lowest due records in order of parent and id; of these parents, or of all."""

    async def due_parents(self, entity: Entity, after: int) -> DueParents | None:
        """The next roots above `after` that have due children; None when there is none."""

    async def due_roots(self, entity: Entity, ids: Sequence[int]) -> list[Due]:
        """Due records of a root entity among these ids."""

    async def answered(self, entity: Entity, records: Sequence[Due]) -> None:
        """The broker has them: clear what is still of the version that was sent."""


class Letter(NamedTuple):
    """A dead letter: the id of its row, the entity of its record, and its copy for `dlq`."""

    id: str
    entity: str
    copy: Outgoing


Place = tuple[int | None, int]
"""Parent and id of a record: where it stands in the order of sending."""


@dataclass(frozen=True, slots=True)
class Told:
    """Records that subscribers were told of, and the place of the last that was looked at."""

    records: list[Due]
    last: Place


class Published(Protocol):
    """What was sent, for a subscriber that came late."""

    async def published(self, entity: Entity, after: Place, limit: int) -> Told | None:
        """The next behind that place whose present version the broker has answered for; None at the end."""


class Letters(Protocol):
    """Dead letters of the extractor."""

    async def uncopied_dead_letters(self, limit: int) -> list[Letter]:
        """Dead letters of the extractor whose copy on `dlq` is not answered for."""

    async def copied(self, letters: Sequence[str], *, keep_raw: bool) -> None:
        """The broker has answered for these copies, or takes none of them (`keep_raw`: the row keeps the bytes)."""


class Broker(Protocol):
    """Kafka (common.streaming.producer)."""

    async def send(self, records: Sequence[Outgoing]) -> None:
        """All answered, in order within each partition; else OutageError."""


class Backlog(Protocol):
    """What the importers still have to read."""

    async def empty(self, family: Family) -> bool:
        """Whether they have read every topic of the family, and the ones it needs, to the end."""

    async def lost(self, family: Family) -> int:
        """Mark as due what waits, is parked nowhere and was published: its publication is gone. Returns how many."""
