"""What the source says it has: `source_inventory` and `page_log`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chatferry.common.entities import Entity, Family
from chatferry.common.entities.reading import View

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PageEntry:
    """One entry of `page_log`."""

    entity: str
    parent: int | None
    lo: int
    hi: int
    count: int
    rejected: int
    read_seq: int
    webhook: int
    method: str
    duration_ms: int
    absent: int = 0
    """Records that are stored, and that the page lacks."""


@dataclass(slots=True)
class WalkUpdate:
    """What one batch changed of a walk's row: `fields` are set, `pages` logged, both or neither."""

    key: str
    fields: dict[str, Any]
    pages: list[PageEntry] = field(default_factory=list)


class Roots(Protocol):
    """Which roots the portal has, in `source_inventory`."""

    async def list_roots(self, family: Family, run: str, epoch: int, roots: Sequence[tuple[int, View]]) -> None:
        """Enter listed roots for this run, views merged. LeaseLostError when a newer epoch has written one of them."""

    async def list_nameless(self, family: Family, run: str, epoch: int, keys: Sequence[str], *, stored: bool) -> None:
        """Enter rejects of the list, by their keys; `stored`: their records are. Safe to repeat. LeaseLostError."""

    async def relist(self, family: Family, run: str, epoch: int, webhooks: Sequence[int]) -> None:
        """Enter the roots of earlier runs that no list of this one had, as the given webhooks saw them then.

        Those that none of them saw are not readable any more. Safe to repeat.
        """


class Inventory(Protocol):
    """Walks through roots: `source_inventory` and `page_log`."""

    async def commit(self, run: str, epoch: int, updates: Sequence[WalkUpdate]) -> None:
        """Rows and their pages in one transaction. Safe to repeat. LeaseLostError when a newer epoch owns a row."""

    async def restart(self, run: str, epoch: int, key: str, parent: int, way: Mapping[str, Any]) -> None:
        """Forget a walk's pages and position; `way` (walks, through, tried): how it begins anew. Safe to repeat."""

    def open_rows(self, family: Family, run: str, epoch: int) -> AsyncIterator[Row]:
        """Rows of this run whose walk has not ended, now owned by `epoch`, in order of their keys."""


class Listings(Protocol):
    """The row of a list whose rows are whole records, and the strangers beside it."""

    async def put_listing(self, entity: Entity, run: str, epoch: int, fields: Mapping[str, Any]) -> None:
        """Renew the list's row, unless that one is of a whole list and this one is not. LeaseLostError as ever.

        Who accepted its gap stays in it; and until the list is through, the account of the time before holds.
        """

    async def get_listing(self, entity: Entity) -> Mapping[str, Any]:
        """The list's row, empty before the first run."""

    async def listed(self, entity: Entity, ids: Sequence[int]) -> None:
        """These are in the list: whoever of them was a stranger is none any more."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A user that records mention and nobody listed. `raw`: how a page showed them, if one did."""

    seq: int
    raw: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Lost:
    """A stranger whom the portal did not show. `state`: unresolvable, unreadable or failed; `reason`: a sentence."""

    seq: int
    state: str
    reason: str


class StrangerStore(Protocol):
    """Strangers survive the process that met them; each run asks for all of them once."""

    async def unknown(self, entity: Entity, ids: Sequence[int]) -> set[int]:
        """Which of these users have no record."""

    async def want(self, entity: Entity, strangers: Sequence[Stranger], unknown: Collection[int]) -> None:
        """Enter those that have no record; of those that have one, how a page shows them now, if they are strangers."""

    async def wanted(self, entity: Entity, run: str, limit: int) -> list[Stranger]:
        """Those that this run has not asked for yet: what became of them since?"""

    async def settle(self, entity: Entity, run: str, resolved: Sequence[int], lost: Sequence[Lost]) -> None:
        """These have the newest record now, these have none: whoever has one of an earlier time keeps it.

        A read that has failed is noted all the same: nobody knows whether that record is still the newest.
        """
