"""What a record is, once it has been read: fit to be sent, or none of its entity's records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from chatferry.common.contracts.canonical import hash_of_canonical
from chatferry.common.contracts.envelope import REPLAY_OF, BrokenEnvelopeError, Envelope, read_envelope
from chatferry.common.entities import Entity
from chatferry.common.errors import PermanentError
from chatferry.common.streaming.records import RawRecord

UNDECODABLE, UNKNOWN, PERMANENT, EXHAUSTED = "undecodable", "unknown", "permanent", "exhausted"
MISMATCH = "key.mismatch"
"""Code of an undecodable record whose key or headers are not those of its body."""
# No portal numbers so far, no database stores much larger ones, and Python prints none of thousands of digits.
_LARGEST_ID = 2**53
# No log comes so far.
_ONE_LOG = 2**40


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


def shelved(offset: int) -> int:
    """An offset for what stood at this one before the topic was made anew: before all that the new log will ever have,
    and in the old order."""
    return offset - _ONE_LOG


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
        raise UndecodableError(MISMATCH, "header ce_subject is not the key of the record in the body")
    if raw.key != b"%d" % parent:
        raise UndecodableError(MISMATCH, "the Kafka key is not the id that orders this record")
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


def told_place(raw: RawRecord, entity: Entity, project: str) -> tuple[int, int] | None:
    """Line and id of a record that could not be read, where it is plainly this project's: by its headers and its key.

    None where they do not say so, or one of them is not as the extractor writes it.
    """
    told = {name: (value or b"").decode(errors="replace") for name, value in raw.headers}
    digits = told.get("ce_subject", "").rpartition(":")[2]
    line = (raw.key or b"").decode(errors="replace")
    if not (_is_id(digits) and _is_id(line)) or told["ce_subject"] != entity.key(int(digits)):
        return None
    ours = told.get("ce_source", "").startswith(f"/chatferry/{project}/") and told.get("ce_type") == entity.event_type
    return (int(line), int(digits)) if ours and (entity.parent is not None or line == digits) else None


def _is_id(digits: str) -> bool:
    """As it is written: no sign, no zero before it, no other script's digits."""
    plain = digits.isascii() and digits.isdigit() and digits[0] != "0"
    return plain and len(digits) <= len(str(_LARGEST_ID)) and int(digits) <= _LARGEST_ID


def traceparents(records: Iterable[ImportRecord]) -> set[str]:
    """The contexts in which these were published, where they were traced."""
    return {record.envelope.traceparent for record in records if record.envelope.traceparent}


def _invalid(invalid: ValidationError) -> UndecodableError:
    first = invalid.errors(include_input=False, include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return UndecodableError("body.not_json", "the body is not JSON in UTF-8")
    # Only names that the model declares: an unknown field's name was written by somebody else.
    where = "an undeclared field" if first["type"] == "extra_forbidden" else _where(first["loc"])
    return UndecodableError("body.invalid", f"the body is not a record of this entity: {where}")


def _where(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc) or "the whole"
