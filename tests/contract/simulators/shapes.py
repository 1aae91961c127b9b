"""A comparer of shapes: keys and JSON types."""

from typing import Any

Json = Any


def kind(value: Json) -> str:
    """JSON type; numbers are one, and so are the two forms of a PHP map."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if value else "empty"


def differences(ours: Json, theirs: Json, free: frozenset[str], where: str = "") -> list[str]:
    """Keys and JSON types that differ; `free`: keys whose type has more than one form, or that may be missing."""
    if kind(ours) != kind(theirs):
        return [] if "empty" in (kind(ours), kind(theirs)) else [f"{where}: {kind(ours)} instead of {kind(theirs)}"]
    if isinstance(ours, list) and isinstance(theirs, list) and ours and theirs:
        return differences(ours[0], theirs[0], free, f"{where}[0]")
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return []
    found = [f"{where}.{key}: missing" for key in theirs.keys() - ours.keys() - free]
    found += [f"{where}.{key}: unknown" for key in ours.keys() - theirs.keys() - free]
    for key in (ours.keys() & theirs.keys()) - free:
        found += differences(ours[key], theirs[key], free, f"{where}.{key}")
    return found
