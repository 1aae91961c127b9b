"""What is forgotten while a real Redis is away is forgotten there, too, once it is back."""

from __future__ import annotations

import pytest
from tests.contract.participants.redis_ports import Replica
from tests.integration.participants.redis_gone import until_back
from tests.integration.participants.test_redis_away import ONE, TWO, read, settled
from tests.integration.redis_of_ours import RedisOfOurs

from chatferry.participants.adapters.layered_counts import LayeredCounts

pytestmark = pytest.mark.integration


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
