"""Query parameters as the platform reads them; all raise ApiError with proto.payload for what is out of its range."""

from collections.abc import Mapping

from chatferry.simulators.max.errors import ApiError

INT64 = range(-(2**63), 2**63)


def number(query: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    text = query.get(name)
    return default if text is None else _read(name, text, allowed)


def marker(query: Mapping[str, str]) -> int | None:
    text = query.get("marker")
    return None if text is None else _read("marker", text, INT64)


def numbers(query: Mapping[str, str], name: str) -> list[int] | None:
    """`1,2,3`; None where the parameter is not there."""
    text = query.get(name)
    return None if text is None else [_read(name, part, INT64) for part in text.split(",")]


def words(query: Mapping[str, str], name: str) -> frozenset[str]:
    return frozenset(part for part in query.get(name, "").split(",") if part)


def _read(name: str, text: str, allowed: range) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ApiError("proto.payload", f"{name}: must be a number") from None
    if value not in allowed:
        raise ApiError("proto.payload", f"{name}: must be between {allowed[0]} and {allowed[-1]}")
    return value
