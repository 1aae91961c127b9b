"""Three replicas on a Redis that a test may kill."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.contract.participants.redis_ports import Replica, replicas_of
from tests.integration.participants.redis_gone import GRACE
from tests.integration.redis_of_ours import RedisOfOurs


@pytest.fixture
async def replicas(server: RedisOfOurs) -> AsyncIterator[list[Replica]]:
    async with replicas_of(server.url, many=3, rules=GRACE) as three:
        yield three
        if server._process is None:
            server.start()
