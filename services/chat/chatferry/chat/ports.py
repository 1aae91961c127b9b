"""What the flow needs of the outside. Every method raises OutageError while its part cannot serve."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from chatferry.chat.domain.items import Kind, RefusedItemError, SourceId, Stored, TargetId
from chatferry.chat.domain.model import Document


@dataclass(frozen=True, slots=True)
class Inserted:
    """How far an insert came: the first `kept` documents are. `stopped_by`: why the next one is not, if there is one;
    None for one that is there already."""

    kept: int
    stopped_by: RefusedItemError | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Documents by ascending source id. `more`: others follow the last one."""

    documents: Sequence[Document]
    more: bool


class Records(Protocol):
    """Writes of one entity's documents, found by their `_id`, the source id."""

    async def insert(self, kind: Kind, documents: Sequence[Document]) -> Inserted:
        """Keep new documents, one after the other, up to the first that is there already or cannot be kept.

        After an OutageError any of them may be kept: insert again to know.
        """

    async def stored(self, kind: Kind, ids: Collection[SourceId]) -> dict[SourceId, Stored]:
        """What is there of these."""

    async def replace(self, kind: Kind, documents: Sequence[Document]) -> int:
        """Put each in the place of an older version only; returns how many were. `target_id` must be the stored one."""


class Reader(Protocol):
    """Reads for whoever checks the target."""

    async def page(self, kind: Kind, parent: SourceId | None, after: SourceId | None, limit: int) -> Page:
        """The first documents after a source id; fewer than `limit` although more follow when they are large."""

    async def some(self, kind: Kind, ids: Collection[SourceId]) -> list[Document]:
        """Those of the ids that are there, in no order. Raises AnswerTooLargeError."""

    async def sources(self, kind: Kind, targets: Collection[TargetId]) -> dict[TargetId, SourceId]:
        """The source ids of those that are there."""

    async def count(self, kind: Kind, parent: SourceId | None) -> int:
        """How many there are, exactly."""


class Ids(Protocol):
    """The target's own ids."""

    async def take(self, kind: Kind, count: int) -> Sequence[TargetId]:
        """Ids that nobody was given before, ascending. Those not used are lost."""


class AnswerTooLargeError(Exception):
    """The records asked for are too large to be answered at once."""
