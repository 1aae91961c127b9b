"""Bodies of answers that have no end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


async def trickling() -> AsyncIterator[bytes]:
    """A byte now and then: no wait for the next one is ever long."""
    while True:
        yield b" "
        await asyncio.sleep(0.01)


async def endless() -> AsyncIterator[bytes]:
    """As fast as it is read."""
    while True:
        yield b" " * 1_048_576
