"""What a verification has found out, in the numbers and rows of its report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from chatferry.common.ledger import GIVEN_UP, READ, lacks
from chatferry.verifier.domain.comparison import Fingerprint, Tally

Check = Literal[
    "walk",
    "gap",
    "count",
    "ledger",
    "pages",
    "missing",
    "extra",
    "version",
    "hash",
    "content",
    "id",
    "sample",
    "participants",
    "mapping",
    "read_back",
]


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its document has it. `asked_at` tells one request to verify from the next of the same run."""

    id: str
    project: str
    family: str
    phase: str | None
    phases: tuple[str, ...]
    requested_at: datetime
    asked_at: datetime | None
    test_limit: int | None
    whole: bool
    method: str | None
    timings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """An operator's word, by name, that a gap may stay: this gap, in this state."""

    by: str
    at: datetime | None
    reason: str | None
    gap: int
    state: str


@dataclass(frozen=True, slots=True)
class Get:
    """The newest Get of a family. `whole`: it has ended, and had no test limit."""

    run: str
    whole: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One row of `source_inventory`. `read`: distinct records of its closed walk, absent and rejected ones included.

    `run` read it last; `watermark`: the newest id then; `limited`: a test limit cut its oldest records off.
    """

    key: str
    entity: str
    seq: int
    state: str
    claimed: int | None
    listed: int
    read: int
    gap: int
    reason: str | None
    accepted: Acceptance | None = None
    run: str | None = None
    watermark: int | None = None
    limited: bool = False

    @property
    def closed(self) -> bool:
        """Its walk is closed at both ends; a stranger is resolved."""
        return self.state in READ

    def since(self, get: Get | None) -> Row:
        """As it stands when the portal was read anew: what the newest whole Get did not read is not closed."""
        if get is None or not get.whole or not self.closed or self.run in (None, get.run):
            return self
        return replace(self, state="stale", reason=f"last read by run {self.run}, and not by {get.run} after it")

    @property
    def open(self) -> bool:
        """Neither read to its end nor given up: nobody knows yet what is lacking, so nobody can accept it."""
        return self.state not in READ and self.state not in GIVEN_UP

    @property
    def lacks(self) -> bool:
        """Something that the portal has was not read."""
        return lacks(self.state, self.gap)

    @property
    def accepted_by(self) -> str | None:
        """Who took what is lacking now; an acceptance of another gap or state is of no use."""
        given = self.accepted
        if given is None or self.open or (given.gap, given.state) != (self.gap, self.state):
            return None
        return given.by


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One difference, named to record and field. `detail` never holds contents."""

    entity: str
    key: str
    parent: str | None
    check: Check
    field: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """A parent's records of one entity in MongoDB: all, those at the target, and those that need not be there."""

    fingerprint: Fingerprint
    imported: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one comparison came to. `sample`: keys of it that are in the sample; `altered`: records with flags."""

    entity: str
    key: str
    tally: Tally
    fingerprint: Fingerprint
    users: int
    unmapped: int
    altered: tuple[dict[str, Any], ...]
    altered_total: int
    sample: tuple[str, ...]
    unreadable: str | None = None
    different_users: int = 0

    @property
    def clean(self) -> bool:
        """Nothing to look at again, unless the records change."""
        return self.tally.clean and not self.unmapped and not self.different_users and self.unreadable is None


@dataclass(slots=True)
class Counts:
    """Records of one entity on their way. `kept`: skipped ones that the target has in an older version.

    `per_parent`: how many parents are done to the last record, and the ledger of the first of those that are not.
    """

    source: int
    extracted: int
    imported: int
    target: int
    kept: int
    ledger: dict[str, Any]
    balanced: bool
    per_parent: dict[str, Any] | None = None

    def as_json(self) -> dict[str, int]:
        """The shape of the report's `counts`."""
        return {
            "source": self.source,
            "extracted": self.extracted,
            "imported": self.imported,
            "target": self.target,
        }


@dataclass(frozen=True, slots=True)
class ChatLine:
    """One root record in the report's table. `differences`: mismatches of any kind under it."""

    key: str
    seq: int
    claimed: int | None
    listed: int
    stored: int
    target: int | None
    gap: int
    state: str
    differences: int


@dataclass(slots=True)
class Facts:
    """Everything that decides, and everything that the report shows."""

    gaps: list[dict[str, Any]] = field(default_factory=list)
    open_gaps: int = 0
    open_walks: int = 0
    partial: list[str] = field(default_factory=list)
    not_readable: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, Counts] = field(default_factory=dict)
    full: Tally = field(default_factory=Tally)
    roots_compared: int = 0
    users: int = 0
    unmapped: int = 0
    different_users: int = 0
    sample_checked: int = 0
    sample_mismatches: int = 0
    unreadable: int = 0
    altered: list[dict[str, Any]] = field(default_factory=list)
    altered_total: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)
    doubled_letters: int = 0
    mismatches: Counter[str] = field(default_factory=Counter)
    lines: list[ChatLine] = field(default_factory=list)
    lines_total: int = 0
