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
    tasks = [asyncio.create_task(one("a secret")) for one in (_outer, _inner, _inner)]
    await asyncio.sleep(0)
    assert waiting_places() == ["_inner > Event.wait (2)", "_outer > _inner > Event.wait"]
    for task in tasks:
        task.cancel()
