"""What the tests of shared parts need."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from chatferry.common.adapters.mongo import Database, open_client, open_database
from chatferry.stack import Addresses


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    """An empty database, dropped afterwards."""
    client, name = open_client(stack.mongodb), f"common_{secrets.token_hex(4)}"
    try:
        yield open_database(client, name)
    finally:
        await client.drop_database(name)
        client.close()
