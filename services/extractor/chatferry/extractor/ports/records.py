"""The records as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chatferry.common.entities import Entity
from chatferry.extractor.domain.records import Candidate
from chatferry.extractor.ports.inventory import PageEntry


@dataclass(frozen=True, slots=True)
class Saved:
    """What storing candidates did. `absent`: how many are stored in the interval that the page lacks."""

    new: int = 0
    changed: int = 0
    absent: int = 0


class Records(Protocol):
    """The records themselves."""

    async def save(
        self, entity: Entity, candidates: Sequence[Candidate], version: int, *, fresh: bool, flagged: bool = True
    ) -> Saved:
        """Store what is new or has changed; what has not is left alone. Safe to repeat, in any order of versions.

        `fresh`: nothing should be there yet (only a hint: it is looked after when something is). `flagged`: what is
        new is due by itself; False where the root's mark says so. Dead letters of these records, written by earlier
        reads, end unless they are of the version that is stored; an importer's, where newer content is.
        """

    async def save_interval(
        self,
        entity: Entity,
        candidates: Sequence[Candidate],
        version: int,
        page: PageEntry,
        *,
        to_the_end: bool,
        shown_above: bool = False,
    ) -> Saved:
        """The same for a page where records may be stored already; what is stored there and the page lacks is marked.

        `to_the_end`: the page holds the newest ones, so what is stored above its interval is missing as well.
        `shown_above`: the walk was shown some of that: it is counted, and not marked.
        """

    async def bury(self, entity: Entity, parent: int, began: int, version: int) -> None:
        """What pages since the read `began` were marked to lack was deleted: a tombstone each.

        Unreadable rows without an id that no page since then has shown are gone: skipped, their dead letters
        superseded, as everybody's are that are older than what is stored. Safe to repeat.
        """

    async def count(self, entity: Entity, parent: int, *, nameless: bool = False) -> int:
        """How many records of this parent are stored; `nameless`: rejects without an id alone."""
