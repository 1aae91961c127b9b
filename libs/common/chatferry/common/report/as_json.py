"""The JSON form of a report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

_OURS = ("_id", "announced", "asked_at")


def report_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold: times as `2026-03-04T06:42:31.250Z`, the store's own fields left out."""
    return {name: _plain(value) for name, value in document.items() if name not in _OURS}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
