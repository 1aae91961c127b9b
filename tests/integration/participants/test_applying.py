"""The portal's chats come back to a catalogue that was lost or restored, on a real Kafka and MongoDB."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.participants.test_topics import _alive, producer, project

from chatferry.common.adapters.mongo import Database, open_client, open_database
from chatferry.common.clock import SystemClock
from chatferry.common.contracts.envelope import common_headers, record_headers
from chatferry.common.health import Health
from chatferry.common.streaming.consumer import ConsumerSettings, RecordConsumer, open_broker
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing
from chatferry.participants.adapters.mongo_applied import MongoApplied
from chatferry.participants.adapters.mongo_catalogue import MongoCatalogue
from chatferry.participants.applying import Applying
from chatferry.participants.handlers import SourceWorker
from chatferry.participants.lasting import either
from chatferry.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
__all__ = ["producer", "project"]
ALL = set(range(1, 31))


@dataclass
class Site:
    """A project's catalogue, and who fills it."""

    stack: Addresses
    project: str
    database: Database
    producer: RecordProducer

    async def tell(self, chats: set[int]) -> None:
        topic = f"{self.project}.chats"
        common = common_headers(f"/chatferry/{self.project}/portal", datetime.now(UTC), None)
        bodies: list[dict[str, Any]] = [
            {"id": n, "title": f"чат {n}", "participant_ids": [1], "created_at": None} for n in sorted(chats)
        ]
        await self.producer.send(
            [
                Outgoing(topic, b"%d" % one["id"], json.dumps(one).encode(), record_headers("k", 1, "t", common=common))
                for one in bodies
            ]
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """As `app.Participants` does."""
        names = itertools.count()
        applied = MongoApplied(self.database, lambda: f"{next(names)}{uuid.uuid4().hex[:6]}")
        topics = (f"{self.project}.chats", f"{self.project}.chat_messages")
        catalogue = MongoCatalogue(self.database)
        sources = SourceWorker(catalogue, topics, lambda *what: None, _alive)
        while not stopping.is_set():
            reading = await applied.reading()
            worker = Applying(sources, applied, reading)
            wanted = ConsumerSettings(f"{self.project}.participants.catalogue.{reading}", topics)
            broker = open_broker(self.stack.kafka, client_id="tests")
            async with either(stopping, worker.lost) as ends:
                await RecordConsumer(broker, wanted, worker, SystemClock(), Health()).run(ends)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stopping = asyncio.Event()
        task = asyncio.create_task(self.run(stopping))
        try:
            yield
        finally:
            stopping.set()
            await task

    async def listed(self) -> set[int]:
        return {row["_id"] async for row in self.database["chats"].find({"listed": True})}

    async def until_listed(self, chats: set[int]) -> None:
        async with asyncio.timeout(30):
            while await self.listed() != chats:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def memory(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (kept := await self.database["memory"].find_one({"_id": "sources"})) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return dict(kept)

    async def until_noted(self, records: int) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while sum((kept := await self.memory()).get("reached", {}).values()) < records:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return kept


@pytest.fixture
async def site(stack: Addresses, project: str, producer: RecordProducer) -> AsyncIterator[Site]:
    client = open_client(stack.mongodb)
    database = open_database(client, f"chatferry_applying_{uuid.uuid4().hex[:8]}")
    try:
        yield Site(stack, project, database, producer)
    finally:
        await client.drop_database(database.name)
        client.close()


async def test_a_restart_reads_nothing_again(site: Site) -> None:
    await site.tell(ALL)
    async with site.running():
        await site.until_noted(len(ALL))
    before = await site.memory()
    await site.database["chats"].delete_one({"_id": 1})
    async with site.running():
        await site.tell({31})
        await site.until_listed((ALL | {31}) - {1})
    assert (await site.memory())["reading"] == before["reading"]


async def test_a_database_that_was_lost_has_the_portals_chats_again_after_a_restart(site: Site) -> None:
    await site.tell(ALL)
    async with site.running():
        await site.until_noted(len(ALL))
    await site.database.client.drop_database(site.database.name)
    async with site.running():
        await site.until_listed(ALL)


async def test_one_that_was_restored_from_a_time_before_has_them_again_after_a_restart(site: Site) -> None:
    first = set(range(1, 11))
    await site.tell(first)
    async with site.running():
        then = await site.until_noted(len(first))
        await site.tell(ALL - first)
        await site.until_noted(len(ALL))
    await site.database["memory"].replace_one({"_id": "sources"}, then)
    await site.database["chats"].delete_many({"_id": {"$gt": 10}})
    async with site.running():
        await site.until_listed(ALL)
    assert (await site.memory())["reading"] != then["reading"]


@pytest.mark.parametrize("how", ["lost", "restored"])
async def test_one_that_is_lost_or_restored_under_the_running_service_has_them_again_with_the_next_record(
    site: Site, how: str
) -> None:
    first = set(range(1, 11))
    await site.tell(first)
    async with site.running():
        then = await site.until_noted(len(first))
        await site.tell(ALL - first)
        await site.until_noted(len(ALL))
        if how == "lost":
            await site.database.client.drop_database(site.database.name)
        else:
            await site.database["memory"].replace_one({"_id": "sources"}, then)
            await site.database["chats"].delete_many({"_id": {"$gt": 10}})
        await site.tell({31})
        await site.until_listed(ALL | {31})
