"""What the extractor needs from the outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from chatferry.common.contracts.events import PhaseCompleted
from chatferry.common.entities import Entity, Family
from chatferry.common.entities.reading import Answer, Command, View
from chatferry.common.portal.preflight import Check
from chatferry.common.streaming.records import Outgoing
from chatferry.extractor.domain.records import Candidate

RunDocument = dict[str, Any]
Row = dict[str, Any]


class Portal(Protocol):
    """The portal behind its bucket (common.portal.client)."""

    async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        """One request; one answer a command. BlockedError, OutageError."""

    async def call(self, webhook: int, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        """One call outside a batch. BlockedError, OutageError."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to drive a portal's run. Writes carry `epoch`; a newer one shuts out an older holder."""

    portal: str
    owner: str
    epoch: int


class Leases(Protocol):
    """One driver per portal at a time (data.md §2). Times are MongoDB's own."""

    async def acquire(self, portal: str) -> Lease | None:
        """A lease of a new epoch, or None while another process holds it."""

    async def renew(self, lease: Lease) -> None:
        """LeaseLostError when another process has taken it."""

    async def release(self, lease: Lease) -> None:
        """Let others take it at once."""


class Runs(Protocol):
    """The documents in `runs` and `entities`."""

    async def next(self) -> RunDocument | None:
        """The oldest run that is asked for or under way."""

    async def update(self, run: str, epoch: int, fields: Mapping[str, Any]) -> None:
        """Set fields. LeaseLostError when a newer epoch has written."""

    async def get(self, run: str) -> RunDocument:
        """The run as it is now."""


class FamilyStates(Protocol):
    """The collection `entities`: what has been reached for a family."""

    async def entity(self, family: str) -> Mapping[str, Any]:
        """A family's state; empty when there is none."""

    async def set_entity(self, family: str, epoch: int, fields: Mapping[str, Any]) -> None:
        """Set fields of it. LeaseLostError when a newer epoch has written."""


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
    gone: tuple[int, ...] = ()
    """Ids that are stored, and that the page lacks."""


@dataclass(slots=True)
class WalkUpdate:
    """What one batch changed of a walk's row: `fields` are set, `pages` logged, both or neither."""

    key: str
    fields: dict[str, Any]
    pages: list[PageEntry] = field(default_factory=list)


class Inventory(Protocol):
    """`source_inventory` and `page_log`."""

    async def list_roots(self, family: Family, run: str, epoch: int, roots: Sequence[tuple[int, View]]) -> int:
        """Enter listed roots for this run, views merged. Returns how many were new to the run.

        LeaseLostError when a newer epoch has written one of them.
        """

    async def commit(self, run: str, epoch: int, updates: Sequence[WalkUpdate]) -> None:
        """Rows and their pages in one transaction. Safe to repeat. LeaseLostError when a newer epoch owns a row."""

    async def restart(self, run: str, epoch: int, key: str, parent: int, walks: int) -> None:
        """Forget a walk's pages and position: it begins anew, after `walks` others. Safe to repeat."""

    async def known_roots(self, family: Family) -> list[tuple[int, list[View]]]:
        """Roots that earlier runs knew, with the views they had."""

    async def list_missing(self, family: Family, run: str, epoch: int, roots: Sequence[tuple[int, View]]) -> None:
        """Enter those of these roots that nobody listed for this run."""

    async def give_up(self, family: Family, run: str, epoch: int) -> None:
        """Roots of earlier runs that no webhook of this one sees are not readable any more."""

    def open_rows(self, family: Family, run: str, epoch: int) -> AsyncIterator[Row]:
        """Rows of this run whose walk has not ended, now owned by `epoch`, in order of id."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What storing candidates did. `absent`: stored ids in the interval that the page lacks."""

    new: int = 0
    changed: int = 0
    absent: tuple[int, ...] = ()


class Records(Protocol):
    """The records themselves."""

    async def save(
        self, entity: Entity, candidates: Sequence[Candidate], version: int, *, fresh: bool, flagged: bool = True
    ) -> Saved:
        """Store what is new or has changed; what has not is left alone. Safe to repeat, in any order of versions.

        `fresh`: nothing should be there yet (only a hint: it is looked after when something is). `flagged`: what is
        new is due by itself; False where the root's mark says so.
        """

    async def save_interval(
        self, entity: Entity, candidates: Sequence[Candidate], version: int, page: PageEntry, *, to_the_end: bool
    ) -> Saved:
        """The same for a page where records may be stored already; says what is stored there and the page lacks.

        `to_the_end`: the page holds the newest ones, so what is stored above its interval is missing as well.
        """

    async def bury(self, entity: Entity, parent: int, seqs: Sequence[int], version: int) -> int:
        """These were deleted at the portal: a new version each, as a tombstone. Safe to repeat."""

    async def count(self, entity: Entity, parent: int) -> int:
        """How many records of this parent are stored."""


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


class Outbox(Protocol):
    """What is due, known from the store alone (data.md §3)."""

    async def due(self, entity: Entity, parents: Sequence[int] | None, limit: int) -> list[Due]:
        """The lowest due records in order of parent and id; of these parents, or of all."""

    async def due_roots(self, entity: Entity, ids: Sequence[int]) -> list[Due]:
        """Due records of a root entity among these ids."""

    async def answered(self, entity: Entity, records: Sequence[Due]) -> None:
        """The broker has them: clear what is still of the version that was sent."""


class Letters(Protocol):
    """Dead letters of the extractor."""

    async def uncopied_dead_letters(self, limit: int) -> list[tuple[str, Outgoing]]:
        """Dead letters of the extractor whose copy on `dlq` is not answered for, with their ids."""

    async def copied(self, letters: Sequence[str], *, keep_raw: bool) -> None:
        """The broker has answered for these copies, or takes none of them (`keep_raw`: the row keeps the bytes)."""


class Listings(Protocol):
    """The row of a list whose rows are whole records, and the strangers beside it."""

    async def put_listing(self, entity: Entity, run: str, epoch: int, fields: Mapping[str, Any]) -> None:
        """Replace the list's row, unless that one is of a whole list and this one is not. LeaseLostError as ever."""

    async def get_listing(self, entity: Entity) -> Mapping[str, Any]:
        """The list's row, empty before the first run."""

    async def listed(self, entity: Entity, ids: Sequence[int]) -> None:
        """These are in the list: whoever of them was a stranger is none any more."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A user that records mention and nobody listed. `raw`: how a page showed them, if one did."""

    seq: int
    raw: Mapping[str, Any] | None


class StrangerStore(Protocol):
    """Strangers survive the process that met them."""

    async def unknown(self, entity: Entity, ids: Sequence[int]) -> set[int]:
        """Which of these users have no record."""

    async def want(self, entity: Entity, strangers: Sequence[Stranger]) -> None:
        """Enter those that are not there yet; those whom nobody knew are asked for again."""

    async def wanted(self, entity: Entity, limit: int) -> list[Stranger]:
        """Those that were not asked for yet."""

    async def settle(self, entity: Entity, resolved: Sequence[int], lost: Sequence[int]) -> None:
        """These have a record now, these nobody knows."""


class Broker(Protocol):
    """Kafka (common.streaming.producer)."""

    async def send(self, records: Sequence[Outgoing]) -> None:
        """All answered, in order within each partition; else OutageError."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a Set has left. `parked` of it wait in line, `stuck` behind a dead parent, which only a replay moves.

    `blocked`: why the importer moves none.
    """

    waiting: int
    parked: int
    stuck: int
    blocked: str | None


class Progress(Protocol):
    """What MongoDB says of a run's progress."""

    async def settled(self, family: Family) -> bool:
        """Whether no record waits to be imported. Cheap."""

    async def waiting(self, family: Family) -> Waiting:
        """What is left, counted."""

    async def counts(self, family: Family) -> dict[str, dict[str, int]]:
        """Per entity: extracted, imported, dead, waiting."""

    async def report(self, run: str, asked_at: datetime) -> dict[str, Any] | None:
        """The verifier's finished answer to this request."""


class Storage(Protocol):
    """What a run stands on."""

    async def checks(self, family: Family) -> list[Check]:
        """`infra.storage.ready` and `mapping.done`."""


class Backlog(Protocol):
    """What the importers still have to read."""

    async def empty(self, family: Family) -> bool:
        """Whether they have read every topic of the family, and the ones it needs, to the end."""

    async def lost(self, family: Family) -> int:
        """Mark as due what waits, is parked nowhere and was published: its publication is gone. Returns how many."""


class Events(Protocol):
    """The `runs` topic."""

    async def completed(self, event: PhaseCompleted) -> None:
        """Tell subscribers that a phase is over. OutageError."""
