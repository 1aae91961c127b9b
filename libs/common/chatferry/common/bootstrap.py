"""What must exist before any service works: topics, indexes, the project's mapping. Safe to repeat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stamina
import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.contracts.schemas import mapping_fingerprint
from chatferry.common.documents import ENTITY_STATES, create_indexes
from chatferry.common.errors import ConfigurationError, OutageError

_EXISTS = 36
_KNOWN_WITHIN_S = 30


class _UnknownYetError(Exception):
    """A topic that is made, and that the broker cannot serve yet."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic of `deploy/topics.yaml`, defaults filled in."""

    name: str
    key: str
    owner: str
    partitions: int
    replication: int
    events: tuple[str, ...]
    about: str
    record: str | None
    config: dict[str, str]


def read_topics(file: Path) -> list[TopicSpec]:
    """Raises ConfigurationError when the file is missing or not of that form."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        defaults = content["defaults"]
        return [_spec(name, topic, defaults) for name, topic in content["topics"].items()]
    except OSError as unreadable:
        raise ConfigurationError(f"the list of topics {file} cannot be read ({unreadable.strerror})") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as wrong:
        raise ConfigurationError(
            f"the list of topics {file} is not of the known form ({type(wrong).__name__})"
        ) from None


def _spec(name: str, topic: dict[str, Any], defaults: dict[str, Any]) -> TopicSpec:
    return TopicSpec(
        name=name,
        key=topic["key"],
        owner=topic["owner"],
        partitions=topic.get("partitions", defaults["partitions"]),
        replication=topic.get("replication", defaults["replication"]),
        events=tuple(topic["events"]),
        about=topic["about"],
        record=topic.get("record"),
        config={**defaults["config"], **{key: str(value) for key, value in topic.get("config", {}).items()}},
    )


async def create_topics(bootstrap: str, project: str, topics: list[TopicSpec]) -> None:
    """Create the project's topics that are missing. OutageError when Kafka is away."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        wanted = [
            NewTopic(f"{project}.{topic.name}", topic.partitions, topic.replication, topic_configs=topic.config)
            for topic in topics
        ]
        answer = await admin.create_topics(wanted)
        for name, code, *_ in answer.topic_errors:
            if code not in (0, _EXISTS):
                raise ConfigurationError(f"topic {name} cannot be created: {for_code(code).__name__}")
        await until_served(admin, [topic.name for topic in wanted])
    except KafkaError as away:
        raise OutageError("kafka", "Kafka cannot be reached; start it or correct CHATFERRY_KAFKA") from away
    finally:
        await admin.close()


async def until_served(admin: AIOKafkaAdminClient, names: list[str]) -> None:
    """Wait for topics that were made: the controller's word runs ahead of the broker's metadata. OutageError."""
    try:
        async for attempt in stamina.retry_context(
            on=_UnknownYetError, attempts=None, timeout=_KNOWN_WITHIN_S, wait_max=0.5
        ):
            with attempt:
                await _check_known(admin, names)
    except _UnknownYetError as missing:
        raise OutageError("kafka", f"Kafka has made topic {missing} and does not serve it yet; try again") from None


async def _check_known(admin: AIOKafkaAdminClient, names: list[str]) -> None:
    for topic in await admin.describe_topics(names):
        if topic["error_code"] or any(partition["error_code"] for partition in topic["partitions"]):
            raise _UnknownYetError(topic["topic"])


async def bootstrap_project(kafka: str, database: Database, project: str, topics: list[TopicSpec]) -> None:
    """Topics, indexes, mapping. OutageError when a part is away."""
    await create_topics(kafka, project, topics)
    await create_indexes(database)
    with mongo_outage():
        mapping = {"fingerprint": mapping_fingerprint()}
        await database[ENTITY_STATES].update_one({"_id": "mapping"}, {"$set": mapping}, upsert=True)
