"""The order of a topic's records stands on its partitions: their number stays as it was when the project began."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping

import pytest

from chatferry.common.adapters.mongo import Database, open_client, open_database
from chatferry.common.entities import ENTITIES
from chatferry.common.errors import ConfigurationError
from chatferry.importer.adapters.partitions import check_partitions
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
TOPICS = {f"p.{name}": entity for name, entity in ENTITIES.items()}


class _Kafka:
    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    async def partitions_of(self, topic: str) -> int:
        return self._counts[topic]


def _kafka(**counts: int) -> _Kafka:
    return _Kafka({f"p.{name}": counts.get(name, 6) for name in ENTITIES})


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = open_client(stack.mongodb)
    database = open_database(client, f"chatferry_partitions_{uuid.uuid4().hex[:8]}")
    yield database
    await client.drop_database(database.name)
    client.close()


async def test_topics_that_stay_as_they_were_are_let_in_each_time(database: Database) -> None:
    for _ in range(2):
        await check_partitions(_kafka(users=3), TOPICS, database)


async def test_partitions_that_were_added_are_refused_with_what_to_do(database: Database) -> None:
    await check_partitions(_kafka(), TOPICS, database)
    for _ in range(2):
        with pytest.raises(ConfigurationError) as refused:
            await check_partitions(_kafka(chats=8, chat_messages=8), TOPICS, database)
        assert "topic p.chats has 8 partitions and had 6 when the project began" in refused.value.sentence
        assert "with 6" in refused.value.sentence
    await check_partitions(_kafka(), TOPICS, database)


async def test_an_entity_that_came_later_is_remembered_as_it_is_then(database: Database) -> None:
    users = {topic: entity for topic, entity in TOPICS.items() if entity.name == "users"}
    await check_partitions(_kafka(), users, database)
    await check_partitions(_kafka(chats=8, chat_messages=8), TOPICS, database)
    with pytest.raises(ConfigurationError):
        await check_partitions(_kafka(), TOPICS, database)


async def test_a_child_needs_as_many_as_its_parent_and_nothing_is_remembered_before(database: Database) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await check_partitions(_kafka(chats=8), TOPICS, database)
    assert "make them equal" in refused.value.sentence
    await check_partitions(_kafka(), TOPICS, database)
