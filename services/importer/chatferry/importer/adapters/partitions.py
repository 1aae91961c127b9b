"""How many partitions the topics have: as many as a parent's its child's, and the same as long as the project lives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from chatferry.common.adapters.mongo import Database, ReturnDocument, mongo_outage
from chatferry.common.documents import ENTITY_STATES
from chatferry.common.entities import Entity
from chatferry.common.errors import ConfigurationError

_ONES = "partitions"


class Counted(Protocol):
    """What Kafka says of its topics."""

    async def partitions_of(self, topic: str) -> int:
        """How many partitions it has. OutageError while Kafka is away, or has no such topic."""


async def check_partitions(kafka: Counted, topics: Mapping[str, Entity], database: Database) -> None:
    """Raises OutageError while a topic is missing, ConfigurationError when a child's partitions differ from its
    parent's (one importer could then not own both), or are others than at first: a chat's later records would come by
    another partition, beside those that wait."""
    counts = {entity.name: await kafka.partitions_of(topic) for topic, entity in topics.items()}
    for entity in topics.values():
        if entity.parent is not None and counts[entity.name] != counts[entity.parent]:
            raise ConfigurationError(
                f"topic {entity.name} has {counts[entity.name]} partitions and {entity.parent} has "
                f"{counts[entity.parent]}: make them equal, or messages cannot wait for their chats"
            )
    first = await _first_seen(counts, database)
    for topic, entity in topics.items():
        if counts[entity.name] != first[entity.name]:
            raise ConfigurationError(
                f"topic {topic} has {counts[entity.name]} partitions and had {first[entity.name]} when the project "
                f"began: later records of a chat would overtake those that wait; make the topic anew with "
                f"{first[entity.name]}, and send its records again (`chatferry republish {entity.name}`)"
            )


async def _first_seen(counts: Mapping[str, int], database: Database) -> Mapping[str, int]:
    """By entity; these where nothing was remembered yet."""
    change: list[dict[str, Any]] = [{"$set": {"counts": {"$mergeObjects": [dict(counts), "$counts"]}}}]
    with mongo_outage():
        kept = await database[ENTITY_STATES].find_one_and_update(
            {"_id": _ONES}, change, upsert=True, return_document=ReturnDocument.AFTER
        )
    remembered: Mapping[str, int] = kept["counts"]
    return remembered
