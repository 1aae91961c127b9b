"""A small portal with a project of its own for each test; the topics are made once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.integration.extractor.extractor_world import TOPICS, World, a_world

from chatferry.common.bootstrap import until_served
from chatferry.simulators.bitrix24 import GeneratorSettings, Portal, generate
from chatferry.stack import Addresses


@pytest.fixture(scope="module")
def topics(stack: Addresses) -> Iterator[str]:
    """The name of a project whose topics are there."""
    project = f"ext-{uuid.uuid4().hex[:8]}"
    names = [f"{project}.{name}" for name in TOPICS]

    async def make() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
        await admin.start()
        await admin.create_topics([NewTopic(name, 2, 1) for name in names])
        await until_served(admin, names)
        await admin.close()

    async def remove() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
        await admin.start()
        await admin.delete_topics(names)
        await admin.close()

    asyncio.run(make())
    yield project
    asyncio.run(remove())


def small_portal(seed: int = 3, **changes: object) -> Portal:
    """Six chats, 160 messages, every kind of user."""
    settings = {"seed": seed, "users": 14, "chats": 6, "messages": 160, **changes}
    return generate(GeneratorSettings(**settings))  # type: ignore[arg-type]


@pytest.fixture
async def world(stack: Addresses, topics: str) -> AsyncIterator[World]:
    """A portal whose owner's webhook sees everything."""
    async with a_world(stack, small_portal(), topics_of=topics) as built:
        yield built
