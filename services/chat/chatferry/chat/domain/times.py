"""A moment as the target keeps it: a date it can sort and search by, and the two things a date cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

_SECONDS = len("2026-03-04T06:42:31")


class UnkeepableTimeError(ValueError):
    """`utc` is no moment, or has another form than the protocol's. Carries no part of it."""


def kept_time(time: Mapping[str, str]) -> dict[str, Any]:
    """The stored form of a canonical time: `at`, a date of milliseconds; `written` and `offset` as the source has them.

    Only where the source has a fraction: `digits`, how many (1 to 6), and `micros`, what milliseconds cannot hold.
    Raises UnkeepableTimeError.
    """
    utc = time["utc"]
    seconds, rest = utc[:_SECONDS], utc[_SECONDS:]
    try:
        at = datetime.fromisoformat(seconds)
    except ValueError:
        raise UnkeepableTimeError("no such moment") from None
    if at.isoformat() != seconds:
        raise UnkeepableTimeError("not YYYY-MM-DDTHH:MM:SS")
    kept: dict[str, Any] = {"at": at, "written": time["source_original"], "offset": time["original_offset"]}
    if rest != "Z":
        digits = rest[1:-1]
        if rest[:1] != "." or rest[-1:] != "Z" or not (digits.isascii() and digits.isdigit()) or len(digits) > 6:
            raise UnkeepableTimeError("a fraction has 1 to 6 digits, and Z ends it")
        microsecond = int(digits.ljust(6, "0"))
        kept["at"] = at.replace(microsecond=microsecond // 1000 * 1000)
        kept["digits"] = len(digits)
        if microsecond % 1000:
            kept["micros"] = microsecond % 1000
    return kept


def told_time(kept: Mapping[str, Any]) -> dict[str, str]:
    """The canonical time again. `utc` comes from the date, so that a moved date is told as moved."""
    at: datetime = kept["at"]
    utc = at.isoformat()[:_SECONDS]
    microsecond = at.microsecond + kept.get("micros", 0)
    digits = kept.get("digits", 0)
    if digits or microsecond:
        told = f"{microsecond:06d}"
        # More digits than the source had: only when somebody moved the date by hand.
        utc += "." + (told if told[digits:].strip("0") else told[:digits])
    return {"source_original": kept["written"], "utc": utc + "Z", "original_offset": kept["offset"]}
