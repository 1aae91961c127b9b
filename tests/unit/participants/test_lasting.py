"""An outage ends one kind of work for a while, and none of the others."""

from __future__ import annotations

import asyncio

import pytest

from chatferry.common.errors import OutageError
from chatferry.common.service import Context
from chatferry.participants.lasting import side_by_side


async def test_what_an_outage_ended_is_begun_again_and_the_rest_goes_on_meanwhile() -> None:
    context, begun, beats = Context(), list[int](), 0

    async def falls() -> None:
        begun.append(beats)
        if len(begun) < 3:
            raise OutageError("kafka", "Kafka is away")
        assert context.health.outages == {"kafka": "Kafka is away"}
        context.stopping.set()

    async def goes_on() -> None:
        nonlocal beats
        while not context.stopping.is_set():
            beats += 1
            await asyncio.sleep(0.01)

    async with asyncio.timeout(10):
        await side_by_side(context, [("falls", falls), ("goes on", goes_on)])
    assert len(begun) == 3
    assert begun[0] < begun[1] < begun[2]


async def test_what_is_no_outage_ends_all_of_it() -> None:
    context, ended = Context(), asyncio.Event()

    async def breaks() -> None:
        raise ValueError("a fault of ours")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ValueError, match="a fault of ours"):
        async with asyncio.timeout(10):
            await side_by_side(context, [("breaks", breaks), ("waits", waits)])
    assert ended.is_set()


async def test_a_stop_lets_what_is_under_way_finish() -> None:
    context, finished = Context(), asyncio.Event()

    async def works() -> None:
        await context.stopping.wait()
        await asyncio.sleep(0.05)
        finished.set()

    asyncio.get_running_loop().call_later(0.05, context.stopping.set)
    async with asyncio.timeout(10):
        await side_by_side(context, [("works", works)])
    assert finished.is_set()
