"""A cancellation is heard, whatever was under way."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")
_PLAIN = asyncio.wait_for


def mend_wait_for() -> None:
    """For a process on Python 3.11: `asyncio.wait_for` as 3.12 has it. Repeating it is free.

    The one of 3.11 returns its result, and forgets the cancellation, when that comes in the moment in which the result
    does. redis-py sends every command through it: a task that is to end goes on, and its group cancels no task twice.
    """
    if sys.version_info < (3, 12):
        asyncio.wait_for = _wait_for  # type: ignore[assignment]


async def _wait_for(awaited: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109 - the signature it stands for
    if timeout is not None and timeout <= 0:
        return await _PLAIN(awaited, timeout)
    async with asyncio.timeout(timeout):
        return await awaited


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
