"""`chatferry doctor` looks at what a run's preflight looks at, in the same words."""

from __future__ import annotations

import io
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console

from chatferry.common.adapters.mongo import Database, open_client, open_database
from chatferry.common.documents import create_indexes
from chatferry.operator.demo import bootstrap
from chatferry.operator.doctor import examine
from chatferry.operator.folder import Folder, Project
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


@dataclass
class Set:
    """A project whose topics, indexes and mapping are there; its portal and target are away."""

    folder: Folder
    project: Project
    database: Database
    env: dict[str, str]

    async def told(self) -> list[str]:
        out = io.StringIO()
        await examine(self.folder, self.env, Console(file=out, width=500))
        return [" ".join(line.split()) for line in out.getvalue().splitlines()]


@pytest.fixture
async def project(stack: Addresses, tmp_path: Path) -> AsyncIterator[Set]:
    name = f"doctor-{uuid.uuid4().hex[:8]}"
    project = Project(
        name=name,
        kafka=stack.kafka,
        mongodb=stack.mongodb,
        redis=stack.redis,
        portal_host="127.0.0.1",
        webhooks_file=str(tmp_path / "none"),
        target_url="http://127.0.0.1:1",
        rest_url_file=str(tmp_path / "none"),
        portal_url="http://127.0.0.1",
    )
    folder = Folder(tmp_path)
    folder.save(project)
    await bootstrap(stack, name)
    client = open_client(stack.mongodb)
    env = {"CHATFERRY_KAFKA": stack.kafka, "CHATFERRY_MONGODB": stack.mongodb, "CHATFERRY_REDIS": stack.redis}
    yield Set(folder, project, open_database(client, project.database), env)
    await client.drop_database(project.database)
    client.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    await admin.delete_topics([topic for topic in await admin.list_topics() if topic.startswith(f"{name}.")])
    await admin.close()


async def test_what_is_there_is_ok_and_what_is_missing_is_named_as_a_run_names_it(project: Set) -> None:
    told = await project.told()
    assert "ok infra.storage.ready: MongoDB, Redis and Kafka answer; indexes and topics are there" in told
    assert "ok mapping.done: 2 families are mapped, as this version maps them" in told

    await project.database.chat_messages.drop_index("in_order")
    lacking = "collection chat_messages lacks an index; `chatferry bootstrap` creates it"
    assert f"missing infra.storage.ready: {lacking}" in await project.told()

    await project.database.entities.delete_one({"_id": "mapping"})
    unmapped = "the project's mapping is not recorded; `chatferry bootstrap` records it"
    assert f"missing mapping.done: {unmapped}" in await project.told()


async def test_a_project_without_topics_is_told_which_is_missing(project: Set) -> None:
    other = replace(project.project, name="nobody-made-this")
    project.folder.save(other)
    client = open_client(other.mongodb)
    try:
        await create_indexes(open_database(client, other.database))
        told = await project.told()
    finally:
        await client.drop_database(other.database)
        client.close()
    said = "topic nobody-made-this.users does not exist; `chatferry bootstrap` creates it"
    assert f"missing infra.storage.ready: {said}" in told
