"""The rules of importing, pure: what a record is, what is due for it, how a batch is cut, when it is tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from pydantic import ValidationError

from chatferry.common.contracts.canonical import hash_of_canonical
from chatferry.common.contracts.envelope import REPLAY_OF, BrokenEnvelopeError, Envelope, read_envelope
from chatferry.common.contracts.target import BEHIND, PARENT_MISSING, ItemResult
from chatferry.common.documents import ERROR_RETRY, IMPORT_ERR, SKIPPED
from chatferry.common.entities import Entity
from chatferry.common.errors import PermanentError
from chatferry.common.streaming.records import RawRecord

UNDECODABLE, UNKNOWN, PERMANENT, EXHAUSTED = "undecodable", "unknown", "permanent", "exhausted"
# No portal numbers so far, no database stores much larger ones, and Python prints none of thousands of digits.
_LARGEST_ID = 2**53
_CODE_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


class UndecodableError(PermanentError):
    """A record on an entity's topic that is none of that entity's records; it ends as a dead letter."""


class Line(NamedTuple):
    """What must stay in order: the records of one parent (of one root record, for roots) on one partition."""

    topic: str
    partition: int
    parent: int


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """A record fit to be sent. `body`: canonical JSON, `hash` its SHA-256, `key` and `version` the envelope's.

    `parked`: it comes from the collection `parked`, its offset is finished already.
    """

    raw: RawRecord
    entity: Entity
    envelope: Envelope
    line: Line
    body: bytes
    hash: str
    parked: bool
    key: str
    version: int


def place_of(raw: RawRecord) -> str:
    """`_id` in `parked` and `dead_letters`: topic/partition/offset."""
    return f"{raw.topic}/{raw.partition}/{raw.offset}"


def replayed_place(raw: RawRecord) -> str | None:
    """`_id` of the dead letter that this record is a replay of, even where nothing else of it can be read."""
    place = next((value for name, value in reversed(raw.headers) if name == REPLAY_OF), None)
    return place.decode(errors="replace") if place else None


def read_record(raw: RawRecord, entity: Entity, project: str, *, parked: bool = False) -> ImportRecord:
    """The one decode of a record. Raises UndecodableError; its code says what is wrong, never a value."""
    try:
        envelope = read_envelope(raw.headers)
    except BrokenEnvelopeError as broken:
        raise UndecodableError("envelope.broken", str(broken)) from None
    if envelope.type != entity.event_type:
        raise UndecodableError("type.unknown", f"header ce_type is not {entity.event_type}")
    if not envelope.source.startswith(f"/chatferry/{project}/"):
        raise UndecodableError("source.foreign", "header ce_source names another project")
    if raw.value is None:
        raise UndecodableError("body.null", "the record has no body")
    try:
        payload = entity.model.model_validate_json(raw.value)
    except ValidationError as invalid:
        raise _invalid(invalid) from None
    parent = payload.id if entity.parent_of is None else entity.parent_of(payload.__dict__)
    if max(abs(payload.id), abs(parent)) > _LARGEST_ID:
        raise UndecodableError("body.invalid", "the body is not a record of this entity: an id beyond 2^53")
    if entity.key(payload.id) != envelope.key:
        raise UndecodableError("key.mismatch", "header ce_subject is not the key of the record in the body")
    if raw.key != b"%d" % parent:
        raise UndecodableError("key.mismatch", "the Kafka key is not the id that orders this record")
    return ImportRecord(
        raw=raw,
        entity=entity,
        envelope=envelope,
        line=Line(raw.topic, raw.partition, parent),
        body=raw.value,
        hash=hash_of_canonical(raw.value),
        parked=parked,
        key=envelope.key,
        version=envelope.version,
    )


def _invalid(invalid: ValidationError) -> UndecodableError:
    first = invalid.errors(include_input=False, include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return UndecodableError("body.not_json", "the body is not JSON in UTF-8")
    # Only names that the model declares: an unknown field's name was written by somebody else.
    where = "an undeclared field" if first["type"] == "extra_forbidden" else _where(first["loc"])
    return UndecodableError("body.invalid", f"the body is not a record of this entity: {where}")


def _where(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc) or "the whole"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the record's document says now."""

    version: int
    status: str
    imported_version: int
    attempts: int
    erred: bool


def outlasting(status: str) -> list[str]:
    """What the same version may have come to meanwhile and keeps, when an importer that is late says this status."""
    return {ERROR_RETRY: [IMPORT_ERR, SKIPPED], IMPORT_ERR: [SKIPPED]}.get(status, [])


class Verdict(Enum):
    """What is due for a record that was read."""

    SEND = auto()
    DONE = auto()
    DEAD = auto()
    SET_ASIDE = auto()
    UNKNOWN = auto()


def judge(record: ImportRecord, standing: Standing | None) -> Verdict:
    """DONE: the target has this version or a newer one. DEAD, SET_ASIDE: it ended, and nobody replays it."""
    if standing is None:
        return Verdict.UNKNOWN
    if standing.imported_version >= record.version:
        return Verdict.DONE
    if standing.version == record.version and record.envelope.replay_of is None:
        if standing.status == IMPORT_ERR:
            return Verdict.DEAD
        if standing.status == SKIPPED:
            return Verdict.SET_ASIDE
    return Verdict.SEND


def attempts_before(record: ImportRecord, standing: Standing, retrying: str) -> int:
    """Attempts that this version has had. A new version and a replay begin anew: their status is NEW."""
    return standing.attempts if standing.status == retrying and standing.version == record.version else 0


@dataclass(frozen=True, slots=True)
class Cut:
    """How large a call may be. `failed`: keys that had an attempt before; nothing of their line goes with them.

    `one_of_a_line`, asked anew for each record: no two of a line go together, for the target keeps none back behind
    another that has to come again.
    """

    items: int
    size_bytes: int
    failed: frozenset[str] = frozenset()
    one_of_a_line: Callable[[], bool] = field(default=lambda: False)


def batches(records: Sequence[ImportRecord], cut: Cut) -> Iterator[list[ImportRecord]]:
    """Each line in order, never more than the cut allows; a record larger than that goes alone.

    What must not go with an earlier one of its line goes in a later batch; other lines do not wait for it.
    """
    left = records
    while left:
        batch: list[ImportRecord] = []
        later: list[ImportRecord] = []
        doubtful: set[Line] = set()
        held = 0
        for place, record in enumerate(left):
            size = len(record.body)
            if batch and (len(batch) == cut.items or held + size > cut.size_bytes):
                later += left[place:]
                break
            if record.line in doubtful:
                later.append(record)
                continue
            batch.append(record)
            held += size
            if cut.one_of_a_line() or record.key in cut.failed:
                doubtful.add(record.line)
        yield batch
        left = later


class Told(Enum):
    """What a result says of its record. BEHIND: not tried, for an earlier one of its line has to come again first.

    ORPHAN: the target has lost the parent, which it took before.
    """

    DONE = auto()
    REFUSED = auto()
    TEMPORARY = auto()
    BEHIND = auto()
    ORPHAN = auto()


def told(batch: Sequence[ImportRecord], results: Sequence[ItemResult]) -> tuple[list[Told], bool]:
    """What each result says; and whether a record was taken though an earlier one of its line has to come again."""
    said: list[Told] = []
    coming_again: set[Line] = set()
    overtaken = False
    for record, result in zip(batch, results, strict=True):
        held = record.line in coming_again
        one = _told(result, held=held)
        if one is Told.TEMPORARY:
            coming_again.add(record.line)
        overtaken |= held and one is Told.DONE
        said.append(one)
    return said, overtaken


def _told(result: ItemResult, *, held: bool) -> Told:
    if result.status != "error":
        return Told.DONE
    if result.code == PARENT_MISSING:
        return Told.ORPHAN
    if result.retryable is False:
        return Told.REFUSED
    return Told.BEHIND if held and result.code == BEHIND else Told.TEMPORARY


def halves(batch: Sequence[ImportRecord]) -> tuple[Sequence[ImportRecord], Sequence[ImportRecord]]:
    """Both halves of a batch, in order."""
    middle = len(batch) // 2
    return batch[:middle], batch[middle:]


def lanes(records: Sequence[ImportRecord], count: int) -> list[list[ImportRecord]]:
    """Records in order, each line whole in one lane; empty lanes are left out."""
    sorted_out: list[list[ImportRecord]] = [[] for _ in range(count)]
    for record in records:
        sorted_out[record.line.parent % count].append(record)
    return [lane for lane in sorted_out if lane]


def retry_delay(attempts: int, delays_s: Sequence[float], chance: float) -> float | None:
    """Seconds until the next attempt, None when there is none. `chance` in [0, 1) spreads it by up to a fifth."""
    if attempts > len(delays_s):
        return None
    return delays_s[attempts - 1] * (1 + chance / 5)


def own_code(code: str | None) -> str:
    """The target's error code as ours: a plain token is kept, anything else could be text."""
    if code and len(code) <= 48 and _CODE_LETTERS.issuperset(code):
        return f"target.{code}"
    return "target.error"


class Window:
    """The last 100 answers about records: more than half of them temporary errors is an outage behind the target."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: deque[bool] = deque(maxlen=100)

    def add(self, retryable: Sequence[bool]) -> None:
        """Answers in order; True: the target asked to try again, or failed on that record alone."""
        self._last.extend(retryable)

    def outage(self) -> bool:
        """More than half of a hundred."""
        return sum(self._last) * 2 > 100

    def clear(self) -> None:
        """Forget; the target writes again."""
        self._last.clear()


@dataclass(frozen=True, slots=True)
class FamilyState:
    """What `entities` says of a family. `blocked`: the target refuses it; `halted`: too many of its records died."""

    set_open: bool
    blocked: str | None
    halted: str | None = None


def open_families(states: Mapping[str, FamilyState]) -> frozenset[str]:
    """Families that may be delivered now."""
    return frozenset(name for name, state in states.items() if state.set_open and state.halted is None)
