"""Pages that are fetched ahead, and what is left of them when whoever compares is cancelled."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from chatferry.verifier.steps.ahead import Ahead, close


async def test_no_fetch_is_left_behind_by_somebody_who_is_cancelled_twice() -> None:
    fetching: list[str] = []

    async def fetch(side: str) -> tuple[list[int], str | None]:
        fetching.append(side)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            fetching.remove(side)
        return [], None

    async def compare() -> None:
        lines, items = Ahead(fetch, "lines"), Ahead(fetch, "items")
        try:
            await lines.take()
        finally:
            await close(lines, items)

    comparing = asyncio.create_task(compare())
    while len(fetching) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    comparing.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    comparing.cancel()
    with suppress(asyncio.CancelledError):
        await comparing
    for _ in range(5):
        await asyncio.sleep(0)
    assert fetching == []
