"""A Redis of a test's own, that it may kill and start again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.redis_of_ours import RedisOfOurs


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisOfOurs]:
    server = RedisOfOurs.in_folder(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.kill()
