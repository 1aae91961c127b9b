"""CloudEvents 1.0 in Kafka's binary binding: the headers of every event that chatferry publishes (design §4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

Headers = tuple[tuple[str, bytes], ...]

_MOST_DIGITS = 16
# What a foreign producer writes here is copied into events of ours.
_LONGEST_SOURCE = 512
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
JSON_TYPE = b"application/json"
REPLAY_OF = "replay-of"
DEAD_LETTER_HEADERS = (
    "dlq-topic",
    "dlq-partition",
    "dlq-offset",
    "dlq-timestamp",
    "dlq-attempts",
    "dlq-error-class",
    "dlq-code",
    "dlq-message",
)
"""What the importer's copy of a record on `dlq` has behind the record's own headers, in this order."""
REJECT_ID = "dlq-id"
"""On `dlq`, the header of a record of the portal that the extractor could not take: `_id` in `dead_letters`."""


class BrokenEnvelopeError(ValueError):
    """The headers are not a CloudEvent of ours. Says which header; never prints its value."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the headers of one record event say. `key` is the record's idempotency key."""

    key: str
    version: int
    type: str
    source: str
    traceparent: str | None
    replay_of: str | None


def event_source(project: str, portal_host: str) -> str:
    """`ce_source`: whose event this is. A consumer of another project refuses it."""
    return f"/chatferry/{project}/{portal_host}"


def record_headers(key: str, version: int, kind: str, *, common: Headers) -> Headers:
    """Headers of one record event; `common` are those equal for a whole chunk (see `common_headers`)."""
    return (
        ("ce_id", f"{key}@{version}".encode()),
        ("ce_type", kind.encode()),
        ("ce_subject", key.encode()),
        ("ce_recordversion", b"%d" % version),
        *common,
    )


def common_headers(source: str, now: datetime, traceparent: str | None) -> Headers:
    """The headers that all events of one chunk share."""
    headers: Headers = (
        ("ce_specversion", b"1.0"),
        ("ce_source", source.encode()),
        ("ce_time", now.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()),
        ("content-type", JSON_TYPE),
    )
    return (*headers, ("traceparent", traceparent.encode())) if traceparent else headers


def read_envelope(headers: Iterable[tuple[str, bytes | None]]) -> Envelope:
    """Raises BrokenEnvelopeError when a header is missing, null, too long, not UTF-8 or not a version.

    A traceparent that is not as W3C has it is none: the record does not depend on it.
    """
    raw: Mapping[str, bytes | None] = dict(headers)
    version = _text(raw, "ce_recordversion")
    # The length first: Python refuses to make a number of thousands of digits.
    if len(version) > _MOST_DIGITS or not (version.isascii() and version.isdigit()) or not 0 < int(version) <= 2**53:
        raise BrokenEnvelopeError("header ce_recordversion is no version")
    if raw.get("content-type") != JSON_TYPE:
        raise BrokenEnvelopeError("header content-type is not application/json")
    if len(raw.get("ce_source") or b"") > _LONGEST_SOURCE:
        raise BrokenEnvelopeError(f"header ce_source is longer than {_LONGEST_SOURCE} bytes")
    trace = raw.get("traceparent")
    return Envelope(
        key=_text(raw, "ce_subject"),
        version=int(version),
        type=_text(raw, "ce_type"),
        source=_text(raw, "ce_source"),
        traceparent=trace.decode() if trace and _TRACEPARENT.fullmatch(trace) else None,
        replay_of=_text(raw, REPLAY_OF) if raw.get(REPLAY_OF) else None,
    )


def _text(headers: Mapping[str, bytes | None], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise BrokenEnvelopeError(f"header {name} is missing")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BrokenEnvelopeError(f"header {name} is not UTF-8") from None
