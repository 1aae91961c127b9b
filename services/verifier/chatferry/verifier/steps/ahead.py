"""Reads one page ahead, so that both sides fetch while the pages before are compared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Cursor = TypeVar("Cursor")
Page = tuple[Sequence[T], Cursor | None]


class Ahead(Generic[T, Cursor]):
    """Pages of one side. `fetch(cursor)` gives a page and the cursor of the next one, None after the last."""

    def __init__(self, fetch: Callable[[Cursor], Coroutine[Any, Any, Page[T, Cursor]]], first: Cursor) -> None:
        self._fetch = fetch
        self._task: asyncio.Task[Page[T, Cursor]] | None = asyncio.create_task(fetch(first))

    async def take(self) -> tuple[Sequence[T], bool]:
        """The next page, and whether it is the last one. Raises what the fetch raised."""
        if self._task is None:
            return (), True
        page, following = await self._task
        self._task = None if following is None else asyncio.create_task(self._fetch(following))
        return page, following is None

    def drop(self) -> asyncio.Task[Any] | None:
        """Cancel a fetch that nobody waits for any more; it, or None where there is none."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        return task


async def close(*sides: Ahead[Any, Any]) -> None:
    """Drop what is being fetched, of all sides before any is waited for: whoever waits may be cancelled once more."""
    dropped = [task for side in sides if (task := side.drop()) is not None]
    if dropped:
        await asyncio.wait(dropped)
    for task in dropped:
        if not task.cancelled():
            task.exception()


async def in_parallel(work: Iterable[Callable[[], Coroutine[Any, Any, None]]], lanes: int) -> None:
    """Do all of it, so many at a time. The first failure ends the rest and is raised as it is."""
    waiting = iter(work)

    async def lane() -> None:
        for job in waiting:
            await job()

    tasks = [asyncio.create_task(lane()) for _ in range(lanes)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
