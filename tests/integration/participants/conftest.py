"""A Redis that a test may kill, and three replicas on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.contract.participants.redis_ports import Replica, replicas_of
from tests.integration.common.portal.redis_of_ours import RedisOfOurs
from tests.integration.participants.redis_gone import GRACE


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisOfOurs]:
    server = RedisOfOurs.in_folder(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
async def replicas(server: RedisOfOurs) -> AsyncIterator[list[Replica]]:
    async with replicas_of(server.url, many=3, rules=GRACE) as three:
        yield three
        if server._process is None:
            server.start()
