"""What is forgotten while a real Redis is away is forgotten there, too, once it is back."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.participants.redis_ports import Replica, joined
from tests.integration.participants.redis_gone import until_back
from tests.integration.participants.test_redis_away import ONE, TWO, read, settled
from tests.integration.redis_of_ours import RedisOfOurs

from chatferry.participants.adapters.layered_counts import LayeredCounts
from chatferry.participants.adapters.redis_layers import ATTEMPT_EVERY_S
from chatferry.participants.domain.counts import Count, Mark

pytestmark = pytest.mark.integration


async def test_an_event_that_finds_redis_back_moves_nothing_that_was_forgotten_meanwhile(
    server: RedisOfOurs,
    replicas: list[Replica],
) -> None:
    replica, other, _ = replicas
    async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as counts:
        before = read(500, epoch=7)
        await counts.write(ONE, before)
        replica.quick._fell()
        await counts.forget([ONE])
        # What the link has taken over of the chat of MAX that it is now.
        known = read(10, before.stamp.started_ms - 100, epoch=0)
        await asyncio.sleep(ATTEMPT_EVERY_S)
        moved = await counts.hint(ONE, known, joined(before.stamp.started_ms + 5))
        assert not replica.quick.away
        assert moved == Count(11, Mark.PROVISIONAL, known.stamp)
        await settled(replica)
        assert await other.counts.load([ONE]) == await counts.load([ONE]) == {ONE: moved}


async def test_what_was_forgotten_without_redis_is_served_no_more_and_deleted_when_it_returns(
    server: RedisOfOurs,
    replicas: list[Replica],
) -> None:
    replica, other, _ = replicas
    async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as counts:
        before = read(500)
        await counts.write(ONE, before)
        await counts.write(TWO, before)
        server.save()
        server.kill()
        await counts.forget([ONE])
        assert await counts.load([ONE, TWO]) == {TWO: before}
        server.start()
        await other.redis.connection_pool.disconnect()
        await until_back(replica)
        assert await counts.load([ONE, TWO]) == {TWO: before}
        await settled(replica)
        assert await other.counts.load([ONE, TWO]) == {TWO: before}
