"""What every `Waiting` has to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from tests.contract.participants.redis_ports import replicas_of

from chatferry.participants.adapters.local import LocalWaiting
from chatferry.participants.adapters.redis_layers import LayeredWaiting
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.ports import Waiting

ONE, TWO = ChatId(1), ChatId(-2)


@pytest.fixture(
    params=[
        "local",
        pytest.param("redis", marks=pytest.mark.integration),
        pytest.param("layered", marks=pytest.mark.integration),
    ]
)
async def waiting(request: pytest.FixtureRequest) -> AsyncIterator[Waiting]:
    if request.param == "local":
        yield LocalWaiting()
        return
    async with replicas_of(request.getfixturevalue("stack").redis) as [replica], replica.waiting as on_redis:
        if request.param == "redis":
            yield on_redis
        else:
            yield LayeredWaiting(on_redis, replica.here, replica.steady, replica.quick)


async def test_a_reader_waits_until_all_reads_have_ended(waiting: Waiting) -> None:
    began = time.monotonic()
    task = asyncio.create_task(waiting.wait([ONE, TWO], 100, 5.0))
    await asyncio.sleep(0.05)
    await waiting.tell({ONE: 100})
    await asyncio.sleep(0.05)
    assert not task.done()
    await waiting.tell({TWO: 105})
    assert await task == {ONE, TWO}
    assert time.monotonic() - began < 2


async def test_what_has_not_ended_in_time_is_not_waited_for_longer(waiting: Waiting) -> None:
    began = time.monotonic()
    task = asyncio.create_task(waiting.wait([ONE, TWO], 100, 0.3))
    await waiting.tell({ONE: 100})
    assert await task == {ONE}
    assert 0.25 <= time.monotonic() - began < 3


async def test_a_read_that_was_started_too_early_is_not_enough(waiting: Waiting) -> None:
    await waiting.tell({ONE: 99})
    task = asyncio.create_task(waiting.wait([ONE], 100, 0.2))
    await waiting.tell({ONE: 98})
    assert await task == set()


async def test_a_read_that_was_told_before_anybody_waited_is_not_missed(waiting: Waiting) -> None:
    await waiting.tell({ONE: 120})
    await waiting.tell({ONE: 110})
    assert await waiting.wait([ONE], 115, 1.0) == {ONE}


async def test_many_readers_of_one_chat_are_all_told(waiting: Waiting) -> None:
    tasks = [asyncio.create_task(waiting.wait([ONE], 100, 5.0)) for _ in range(100)]
    await asyncio.sleep(0.05)
    await waiting.tell({ONE: 100})
    assert await asyncio.gather(*tasks) == [{ONE}] * 100


async def test_waiting_for_nothing_takes_no_time(waiting: Waiting) -> None:
    assert await asyncio.wait_for(waiting.wait([], 100, 60.0), 5.0) == set()
    await waiting.tell({})


async def test_a_reader_who_goes_away_is_forgotten(waiting: Waiting) -> None:
    task = asyncio.create_task(waiting.wait([ONE], 100, 5.0))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await waiting.tell({ONE: 100})
    assert await waiting.wait([ONE], 100, 1.0) == {ONE}
