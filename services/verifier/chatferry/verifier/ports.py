"""What the verifier needs from the world. Every method may raise OutageError, which never counts as a mismatch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from chatferry.common.entities import Entity, Family
from chatferry.verifier.domain.facts import Counts, Get, Mismatch, Row, Run, Stored, Verdict
from chatferry.verifier.domain.lines import SourceLine, TargetItem
from chatferry.verifier.domain.pages import Page


class TargetPage(NamedTuple):
    """A page of the target's list. `next` is opaque; None: it was the last one."""

    items: Sequence[TargetItem]
    next: str | None


class Records(Protocol):
    """The records in MongoDB."""

    async def page(self, entity: Entity, parent: int | None, after: int, limit: int) -> list[SourceLine]:
        """Records under a parent (None: roots) with a seq above `after`, ascending; a short page is the last."""

    async def payloads(self, entity: Entity, keys: Collection[str]) -> dict[str, dict[str, Any]]:
        """Canonical records by key. A record without one (never readable) and an unknown key are left out."""

    async def stored(self, entity: Entity, parents: Sequence[int]) -> dict[int, Stored]:
        """What is stored under each of the parents; one without records is left out."""


class Source(Protocol):
    """What the extractor and the importer wrote down about the portal and the run."""

    def rows(self, family: Family) -> AsyncIterator[list[Row]]:
        """Every row of the family's inventory, ascending by seq, in chunks."""

    async def counts(self, entity: Entity, family: Family) -> Counts:
        """The entity's counts and ledger, `target` still 0."""

    async def dead_letters(self, families: Sequence[Family]) -> tuple[dict[str, int], int]:
        """Dead letters by state; and how many of the dead are of a record, in one version, that has another one."""

    async def unmapped(self, users: Collection[int]) -> set[int]:
        """Those of the users that the user map does not have, or not with the id that the target gave them."""


class Readings(Protocol):
    """How the portal was read."""

    async def newest_get(self, family: Family) -> Get | None:
        """The family's newest Get; None: from before this was noted."""

    def pages(self, entity: Entity, run: str, parents: Sequence[int]) -> AsyncIterator[Page]:
        """The pages that a run read under these parents, ascending by `lo`."""


class Target(Protocol):
    """The target's read-back (design §5). Raises ReadBackError when an answer cannot be used."""

    async def page(self, entity: Entity, parent: str | None, after: str | None) -> TargetPage:
        """A page of `list`: of the records under a parent's key, or of the whole entity."""

    async def get(self, entity: Entity, keys: Sequence[str]) -> dict[str, TargetItem]:
        """Records by key, any number of them; those that the target does not have are left out."""

    async def count(self, entity: Entity, parent: str | None = None) -> int:
        """How many records the target says it has."""


class Findings(Protocol):
    """Mismatches of one report while it is in the making. Safe to repeat."""

    async def begin(self, entity: Entity, parent: str | None) -> None:
        """Forget what an earlier comparison of the same records found."""

    async def add(self, mismatches: Sequence[Mismatch]) -> None:
        """Keep mismatches, one document each."""


class Verdicts(Protocol):
    """What the comparisons came to since a verification was asked for. Safe to repeat."""

    async def keep(self, verdict: Verdict) -> None:
        """Keep it in place of an earlier verdict on the same records."""

    async def known(self, entity: Entity, parents: Collection[str]) -> dict[str, Verdict]:
        """Verdicts by the key of the parent, of these parents."""

    def samples(self, entity: Entity) -> AsyncIterator[Sequence[str]]:
        """The sampled keys of each verdict that has some."""


class Reports(Protocol):
    """Reports and what they say about mismatches."""

    async def claim(self, run: Run) -> str | None:
        """The id of the report that the run asks for, its last checks and what was compared before it was asked for
        forgotten; None: it is written already."""

    async def mismatches(self, report: str, limit: int) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """The first mismatches, and how many there are by check."""

    async def names(self, entity: Entity, keys: Collection[str]) -> dict[str, str]:
        """Titles of root records that have one."""

    async def save(self, report: dict[str, Any]) -> None:
        """Keep a report. Safe to repeat: the first one of an id stays."""


class Runs(Protocol):
    """The runs that a verification is asked of."""

    async def wanted(self) -> list[Run]:
        """Runs that ask for a verification now."""

    async def read(self, run: str) -> Run | None:
        """The run as it is now; None when it does not ask."""


class Leases(Protocol):
    """Who verifies a run now, by MongoDB's clock."""

    async def take(self, run: str) -> bool:
        """Have the lease, or go on having it; False while another process has it."""

    async def release(self, run: str) -> None:
        """Let it go, if it is ours."""


class Announcer(Protocol):
    """The event at the end of a verification."""

    async def announce(self) -> None:
        """Publish the event of every report that has none yet. Safe to repeat."""


class Meter(Protocol):
    """Metrics that a verification moves."""

    def sample_mismatches(self, family: str, count: int) -> None:
        """So many sampled records differ."""


class Moments(Protocol):
    """The clock, as far as the story needs it."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...
