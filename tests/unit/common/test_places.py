"""What is said of work that does not end."""

from __future__ import annotations

import asyncio

from chatferry.common.places import waiting_places


async def _outer(secret: str) -> None:
    await _inner(secret)


async def _inner(secret: str) -> None:
    assert secret
    await asyncio.Event().wait()


async def test_each_task_is_told_as_the_functions_that_wait_for_one_another() -> None:
    task = asyncio.create_task(_outer("a secret"))
    await asyncio.sleep(0)
    assert waiting_places() == ["_outer > _inner > Event.wait"]
    task.cancel()
