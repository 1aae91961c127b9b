"""After the bootstrap a service finds its topics at once, whichever broker's metadata it reads first."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from chatferry.common.bootstrap import TopicSpec, create_topics, read_topics
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
_TOPICS = Path(__file__).resolve().parents[3] / "deploy" / "topics.yaml"


async def test_every_topic_is_served_when_the_bootstrap_returns_and_a_second_one_changes_nothing(
    stack: Addresses,
) -> None:
    project, topics = f"b{secrets.token_hex(4)}", read_topics(_TOPICS)
    for _ in range(2):
        await create_topics(stack.kafka, project, topics)
        assert await _served(stack.kafka, project, topics) == {topic.name: topic.partitions for topic in topics}


async def _served(kafka: str, project: str, topics: list[TopicSpec]) -> dict[str, int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        described = await admin.describe_topics([f"{project}.{topic.name}" for topic in topics])
    finally:
        await admin.close()
    return {
        topic["topic"].removeprefix(f"{project}."): sum(p["leader"] >= 0 for p in topic["partitions"])
        for topic in described
    }
