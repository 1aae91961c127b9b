"""Times in three forms: as the source wrote it, in UTC, and the source's offset (requirements 001: time zones)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache

from pydantic import BaseModel, ConfigDict

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?\s*(Z|[+-]\d\d:?\d\d)?", re.ASCII)


class SourceTime(BaseModel):
    """`utc` is `YYYY-MM-DDTHH:MM:SSZ`, with a fraction only where the source has one; everything compares by it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    source_original: str
    utc: str
    original_offset: str


class ImpossibleDateError(ValueError):
    """The text is no date that exists. Carries no part of the text."""


def source_time(original: object, portal_offset: str) -> tuple[dict[str, str], bool]:
    """The three forms of a source's date, and whether the portal's offset had to be assumed.

    `original`: ISO 8601, with offset or without. `portal_offset`: `+03:00`. Raises ImpossibleDateError.
    """
    match = _ISO.fullmatch(original) if isinstance(original, str) else None
    if match is None or not isinstance(original, str):
        raise ImpossibleDateError("not an ISO 8601 date")
    day, clock, fraction, offset = match.groups()
    assumed = offset is None
    offset = _with_colon(offset or portal_offset)
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}") - _ahead(offset)
    except (ValueError, OverflowError) as impossible:
        raise ImpossibleDateError("no such moment") from impossible
    utc = moment.isoformat() + (f".{fraction}Z" if fraction else "Z")
    return {"source_original": original, "utc": utc, "original_offset": offset}, assumed


def offset_of(moment: str) -> str:
    """The offset in a portal's `server.time` answer, as `+03:00`. Raises ImpossibleDateError when it has none."""
    match = _ISO.fullmatch(moment)
    if match is None or match.group(4) is None:
        raise ImpossibleDateError("a time without an offset")
    return _with_colon(match.group(4))


def _with_colon(offset: str) -> str:
    if offset == "Z":
        return "+00:00"
    return offset if ":" in offset else f"{offset[:3]}:{offset[3:]}"


@lru_cache(maxsize=64)
def _ahead(offset: str) -> timedelta:
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    if hours > 14 or minutes > 59:
        raise ValueError("no such offset")
    return timedelta(minutes=(hours * 60 + minutes) * (-1 if offset[0] == "-" else 1))
