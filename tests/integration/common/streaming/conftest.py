"""Two topics of a project of their own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from chatferry.stack import Addresses


@pytest.fixture
async def topics(stack: Addresses) -> AsyncIterator[tuple[str, str]]:
    """A parent's and a child's topic, four partitions each."""
    prefix = f"stream-{uuid.uuid4().hex[:8]}"
    names = (f"{prefix}.parents", f"{prefix}.children")
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 4, 1) for name in names])
        yield names
        await admin.delete_topics(list(names))
    finally:
        await admin.close()
