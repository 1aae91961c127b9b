"""Where the tasks of a process wait: names of functions, never what they hold."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

_DEPTH = 8


def waiting_places() -> list[str]:
    """Each task of this loop but the one that asks, as the functions that wait for one another, outermost first; alike
    ones once, with their number."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    places = Counter(" > ".join(list(_names(task.get_coro()))[-_DEPTH:]) for task in others)
    return [place if count == 1 else f"{place} ({count})" for place, count in sorted(places.items())]


def _names(waiting: Any) -> Iterator[str]:
    while waiting is not None:
        name = getattr(waiting, "__qualname__", None)
        if name is None:
            return
        yield name
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
