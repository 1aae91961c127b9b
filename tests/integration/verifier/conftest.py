"""A fresh project with a fake target for each test; the shipped target where a test asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.integration.verifier.fake_target import FakeTarget, fake_target
from tests.integration.verifier.verifier_world import World, a_world

from chatferry.stack import Addresses


@pytest.fixture
async def fake() -> AsyncIterator[FakeTarget]:
    async with fake_target() as running:
        yield running


@pytest.fixture
async def world(stack: Addresses, fake: FakeTarget) -> AsyncIterator[World]:
    async with a_world(stack, fake.url) as built:
        yield built
