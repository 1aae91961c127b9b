"""Charts as plain numbers that the template draws: bars in per cent, a timeline in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chatferry.common.report.words import duration, number

_BARS = 12
_PHASES = {"get": "Get: read the portal", "set": "Set: import", "verify": "Verify: compare"}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `share` of the longest one, in per cent. `bad`: something under it differs."""

    label: str
    text: str
    share: float
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """One phase on the timeline; `start` and `share` in per cent of the whole run."""

    name: str
    label: str
    text: str
    start: float
    share: float


def largest(chats: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """The largest root records by what is stored under them."""
    shown = sorted(chats, key=lambda chat: -int(chat["stored"]))[:_BARS]
    most = max((int(chat["stored"]) for chat in shown), default=0)
    return [
        Bar(name_of(chat), number(chat["stored"]), _percent(chat["stored"], most), bool(chat["differences"]))
        for chat in shown
        if most
    ]


def timeline(timings: Mapping[str, Any], start: datetime, end: datetime) -> list[Stretch]:
    """The phases that ran, each from its start to its end (the last one to the report's)."""
    whole = max((end - start).total_seconds(), 0.001)
    stretches = []
    for name, label in _PHASES.items():
        times = timings.get(name) or {}
        began, ended = times.get("started_at"), times.get("finished_at") or end
        if began is None:
            continue
        seconds = max((ended - began).total_seconds(), 0.0)
        offset = min(max((began - start).total_seconds(), 0.0), whole)
        share = min(seconds, whole - offset)
        stretches.append(Stretch(name, label, duration(seconds), _percent(offset, whole), _percent(share, whole)))
    return stretches


def name_of(chat: Mapping[str, Any]) -> str:
    """The chat's title; a private one has none, so its key stands for it."""
    key = str(chat["key"]).removeprefix("source:").replace(":", " ")
    return str(chat.get("title") or f"{key} (no title)")


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
