"""A fresh project for each test."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatferry.stack import Addresses

sys.path.insert(0, str(Path(__file__).parent))

from importer_world import World, a_world


@pytest.fixture
async def world(stack: Addresses) -> AsyncIterator[World]:
    """Topics, database, target, and nothing in them."""
    async with a_world(stack, f"imp-{uuid.uuid4().hex[:8]}") as built:
        yield built
