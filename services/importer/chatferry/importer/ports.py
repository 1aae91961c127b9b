"""What the flow needs from outside. Every method may raise OutageError of the part behind it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import NamedTuple, Protocol

from chatferry.common.contracts.target import ItemResult
from chatferry.common.entities import Entity
from chatferry.common.errors import ChatferryError
from chatferry.common.streaming.records import Partition, RawRecord, StoredRecord
from chatferry.importer.domain.records import ImportRecord, Line
from chatferry.importer.domain.standing import FamilyState, Standing


class Trouble(Enum):
    """How a call as a whole failed: SHAKY reset, time-out, 5xx, an answer that is none; REFUSED 400 or 413."""

    SHAKY = auto()
    THROTTLED = auto()
    REFUSED = auto()
    DENIED = auto()


class CallFailedError(ChatferryError):
    """No answer about any record. `retry_after_s`: the target named a time."""

    def __init__(self, trouble: Trouble, code: str, sentence: str, retry_after_s: float | None = None) -> None:
        super().__init__(code, sentence)
        self.trouble = trouble
        self.retry_after_s = retry_after_s


class Target(Protocol):
    """Where records go."""

    async def send(self, entity: Entity, records: Sequence[ImportRecord]) -> list[ItemResult]:
        """One result per record, in order. Raises CallFailedError. Safe to repeat: versions decide."""

    async def probe(self, entity: Entity) -> None:
        """Ask for something small, and believe the answer of a target alone. Raises CallFailedError."""


@dataclass(frozen=True, slots=True)
class Done:
    """The target has this version (or a newer one, `stale`). `skipped`: it had it before this delivery."""

    record: ImportRecord
    status: str
    target_id: str | None
    erred_before: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """A record that ends as a dead letter. `record` is None when it could not be read."""

    raw: RawRecord
    entity: Entity
    record: ImportRecord | None
    error_class: str
    code: str
    message: str
    attempts: int
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """A temporary error: tried again not before `not_before`."""

    record: ImportRecord
    attempts: int
    code: str
    not_before: datetime


class Behind(Enum):
    """Why a record waits without having been tried."""

    PARENT = "parent"
    BEHIND = "behind"


@dataclass(frozen=True, slots=True)
class Waits:
    """Not sent: its parent is not there, or an earlier record of its line waits."""

    record: ImportRecord
    reason: Behind


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing is due: it ended before, and its end is written down."""

    raw: RawRecord
    parked: bool


@dataclass(frozen=True, slots=True)
class SetAside:
    """Never sent: an operator has discarded its parent, and with it all that belongs there."""

    record: ImportRecord


Ending = Done | Dead | Retry | Waits | Finished | SetAside


class Records(Protocol):
    """The record documents. Every write has the version in its filter."""

    async def standings(self, entity: Entity, keys: Collection[str]) -> dict[str, Standing]:
        """What the documents say; a key without a document is left out."""

    async def imported(self, entity: Entity, keys: Collection[str]) -> set[str]:
        """Which of the keys have an imported version."""

    async def mark_done(self, entity: Entity, done: Sequence[Done]) -> set[str]:
        """IMPORT_OK with version, hash and target id; a document with newer content only learns what is there.

        Left as they are, and returned by key: those of this version that erred, though `erred_before` does not say so.
        Where it does, the error stays on the document until it is forgiven (`Errors`).
        """

    async def mark_failed(self, entity: Entity, status: str, failed: Sequence[tuple[str, int, int, str]]) -> None:
        """(key, version, attempts, code) each: `status`, unless the document is done or has newer content.

        Nor does a retry outlast a death, nor either of them an operator's discard: whoever says so then is late.
        The code is kept as the last error, of SKIPPED as the reason.
        """


class Errors(Protocol):
    """Errors on documents of what is imported: each may have left a dead letter, which has to end before the error."""

    async def left(self, entity: Entity, most: int) -> dict[str, int]:
        """Version by key of documents that have one still: who imported them was cut off before its end."""

    async def forgive(self, entity: Entity, versions: Mapping[str, int]) -> None:
        """Their dead letters of these versions (by key) have ended; of a newer version nothing is forgiven."""


class Ids(Protocol):
    """The map from source keys to the target's ids."""

    async def learn(self, entity: Entity, ids: Mapping[str, str]) -> None:
        """Remember; safe to repeat."""


class Parked(Protocol):
    """Writes to `parked`."""

    async def park(self, rows: Sequence[tuple[ImportRecord, str, datetime | None]]) -> None:
        """(record, reason, not before) each. Repeating it changes nothing.

        Where the topic was made anew, what has stood at a record's place goes before it (`shelved`).
        """

    async def postpone(self, moments: Mapping[str, datetime]) -> None:
        """These rows (by place) had an attempt and wait for their moment now."""

    async def drop(self, places: Collection[str]) -> None:
        """These rows are finished."""


@dataclass(frozen=True, slots=True)
class StoredLine:
    """A line that has parked rows. `not_before`: when its row in retry is due, seconds since the epoch, 0 for a replay
    that waits, None for neither. `last`: the highest offset.
    """

    line: Line
    not_before: float | None
    last: int


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """One row, as it came from Kafka. `not_before`: seconds since the epoch, 0 for none."""

    raw: StoredRecord
    not_before: float


class Room(NamedTuple):
    """How much may be taken at once; `size_bytes` is of the bodies."""

    rows: int
    size_bytes: int


class ParkedView(Protocol):
    """Reads of `parked`."""

    async def lines(self, partitions: Collection[Partition]) -> list[StoredLine]:
        """Every line of these partitions that waits."""

    async def rows(
        self, partition: Partition, parents: Collection[int], room: Room, *, replays: bool = False
    ) -> tuple[list[ParkedRow], int | None]:
        """Rows of these lines in the order of their parents, then by offset, at least one if there is any; or replays
        alone.

        And the parent of the first row that there was no room for; None: these are all.
        """

    async def known(self, records: Collection[RawRecord]) -> set[str]:
        """Places of those of the records that have a row; one of an older topic of this name is none of theirs."""

    async def counts(self) -> dict[str, int]:
        """Rows per entity."""


class DeadLetters(Protocol):
    """The collection `dead_letters`."""

    async def open(self, dead: Sequence[Dead]) -> None:
        """Rows in state dead, with the raw bytes. Repeating it changes nothing; places of old as in `Parked.park`."""

    async def uncopied(self, partitions: Collection[Partition], room: Room) -> list[Dead]:
        """Rows of ours whose copy on `dlq` or whose status may be missing, at least one if there is any."""

    async def copied(self, places: Collection[str], *, keep_raw: bool = False) -> None:
        """Copy, result and status of these are answered for. `keep_raw`: `dlq` cannot take them, the row is all."""

    async def resolve(self, replayed: Collection[str], newer: Mapping[str, int], *, given_up: bool = False) -> None:
        """`replayed`: rows (by place) whose replay has ended, or was `given_up`. `newer`: by key what was imported."""


class DeadView(Protocol):
    """Reads of `dead_letters`."""

    async def known(self, records: Collection[RawRecord]) -> set[str]:
        """Places of those of the records that have a row; one of an older topic of this name is none of theirs."""

    async def replaying(self, places: Collection[str]) -> set[str]:
        """Which of these dead letters are sent again, and have no end yet."""

    async def last_offsets(self, partitions: Mapping[Partition, int]) -> dict[Partition, int]:
        """The highest offset with a row, for partitions that have one at or after the given offset."""

    async def holding(self, entity: Entity, parents: Collection[int], *, exhausted_only: bool = False) -> set[int]:
        """Which of these parents have a record of this entity that is dead (or on its replay) now.

        `exhausted_only`: dead of temporary errors, so that it may be taken yet.
        """


class Events(Protocol):
    """What goes to Kafka; returns when the broker has answered for all of it."""

    async def imported(self, done: Sequence[Done]) -> None:
        """`record.imported` on `results`."""

    async def failed(self, dead: Sequence[Dead]) -> None:
        """`record.failed` on `results`, for records that could be read."""

    async def copy_dead(self, dead: Sequence[Dead]) -> set[str]:
        """The records as they were on `dlq`, with what happened in additional headers. Places of those too large."""


class Families(Protocol):
    """The collection `entities`."""

    async def states(self) -> dict[str, FamilyState]:
        """All families that are known there."""

    async def block(self, family: str, sentence: str | None) -> None:
        """Say why nothing of this family can be delivered, or that it can (None)."""

    async def halt(self, family: str, sentence: str) -> None:
        """Nothing of this family is delivered from now on, until an operator says so or asks for a new set."""


class Silence(Protocol):
    """A pause that the target asked for, shared by every replica."""

    async def ask(self, seconds: float) -> None:
        """Nobody calls for so long; a longer pause that was asked for before stays."""

    async def left_s(self) -> float:
        """Seconds until calls may be begun again, 0 when they may."""


class RunsAsked(Protocol):
    """Runs whose preflight waits for the importer's word."""

    async def unanswered(self) -> list[tuple[str, str]]:
        """(run, family) each."""

    async def answer(self, run: str, ok: bool, detail: str) -> None:
        """Write the answer, unless another importer has."""
