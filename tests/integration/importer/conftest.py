"""A fresh project for each test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from tests.integration.importer.world import World, a_world

from chatferry.stack import Addresses


@pytest.fixture
async def world(stack: Addresses) -> AsyncIterator[World]:
    """Topics, database, target, and nothing in them."""
    async with a_world(stack, f"imp-{uuid.uuid4().hex[:8]}") as built:
        yield built
