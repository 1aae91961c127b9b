"""Two topics of a project of their own; a Kafka that may be killed."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from chatferry.common.bootstrap import until_served
from chatferry.stack import Addresses, LocalStack
from chatferry.stack.addresses import VARIABLES


@pytest.fixture
async def topics(stack: Addresses) -> AsyncIterator[tuple[str, str]]:
    """A parent's and a child's topic, four partitions each."""
    prefix = f"stream-{uuid.uuid4().hex[:8]}"
    names = (f"{prefix}.parents", f"{prefix}.children")
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 4, 1) for name in names])
        await until_served(admin, list(names))
        yield names
        await admin.delete_topics(list(names))
    finally:
        await admin.close()


@pytest.fixture
def own_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    """A Kafka that a test may kill."""
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    local = LocalStack(tmp_path, announce=lambda _line: None)
    yield local
    local.down()
