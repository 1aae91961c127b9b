"""Readers on any replica hear of a read on any other, over a real Redis whose connections break."""

from __future__ import annotations

import asyncio
import statistics
import time

import pytest
from tests.contract.participants.redis_ports import Replica, replicas_of

from chatferry.participants.domain.counts import ChatId
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
ONE = ChatId(1)


async def listening(replica: Replica) -> None:
    """Returns once its subscription is made."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if dict(await replica.redis.pubsub_numsub(replica.keys.own("told"))).get(replica.keys.own("told").encode()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not listen")


async def test_who_waits_on_another_replica_is_told_within_milliseconds(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=2) as [reader, other], reader.waiting as waiting:
        await listening(reader)
        took = []
        for n in range(20):
            task = asyncio.create_task(waiting.wait([ONE], 100 + n, 5.0))
            await asyncio.sleep(0.02)
            began = time.monotonic()
            await other.waiting.tell({ONE: 100 + n})
            assert await task == {ONE}
            took.append(time.monotonic() - began)
        print(f"told after {statistics.median(took) * 1_000:.1f} ms")
        assert statistics.median(took) < 0.02


async def test_what_another_replica_told_before_is_not_missed(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=2) as [reader, other]:
        await other.waiting.tell({ONE: 120})
        await other.waiting.tell({ONE: 110})
        async with reader.waiting as waiting:
            assert await waiting.wait([ONE], 115, 1.0) == {ONE}
            assert await waiting.wait([ONE], 121, 0.1) == set()


async def test_what_is_told_while_the_connection_is_lost_is_heard_after_it(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=2) as [reader, other], reader.waiting as waiting:
        await listening(reader)
        task = asyncio.create_task(waiting.wait([ONE], 100, 8.0))
        await asyncio.sleep(0.05)
        # Every connection of the reader's own client, that of the subscription among them.
        await reader.redis.connection_pool.disconnect(inuse_connections=True)
        await other.waiting.tell({ONE: 100})
        began = time.monotonic()
        assert await task == {ONE}
        assert time.monotonic() - began < 7


async def test_many_pages_wait_at_once(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=2) as [reader, other], reader.waiting as waiting:
        await listening(reader)
        chats = [ChatId(n) for n in range(1, 51)]
        tasks = [asyncio.create_task(waiting.wait(chats, 100, 5.0)) for _ in range(20)]
        await asyncio.sleep(0.2)
        for chat in chats:
            await other.waiting.tell({chat: 100})
        assert await asyncio.gather(*tasks) == [set(chats)] * 20
