"""A simulated portal, a real MongoDB, Kafka and Redis, and the extractor's story driven by hand under a lease."""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

from chatferry.common.adapters.mongo import Client, Database, open_client, open_database
from chatferry.common.bootstrap import until_served
from chatferry.common.clock import SystemClock
from chatferry.common.contracts.schemas import mapping_fingerprint
from chatferry.common.documents import create_indexes
from chatferry.common.entities import ENTITIES, FAMILIES
from chatferry.common.entities.reading import Understanding
from chatferry.common.health import Health
from chatferry.common.ledger import Account, account
from chatferry.common.portal.bucket import Limits as PortalLimits
from chatferry.common.portal.bucket import RedisRateBucket
from chatferry.common.portal.client import PortalClient, PortalSettings
from chatferry.common.portal.webhook import parse_webhooks
from chatferry.common.storage import StorageChecks
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.telemetry.metrics import Metrics
from chatferry.extractor.adapters.backlog import KafkaBacklog
from chatferry.extractor.adapters.events import RunEvents
from chatferry.extractor.adapters.inventory import MongoInventory
from chatferry.extractor.adapters.letters import MongoLetters
from chatferry.extractor.adapters.listings import MongoListings
from chatferry.extractor.adapters.outbox import MongoOutbox
from chatferry.extractor.adapters.progress import MongoProgress, MongoTally
from chatferry.extractor.adapters.records import MongoRecords
from chatferry.extractor.adapters.roots import MongoRoots
from chatferry.extractor.adapters.runs import MongoLeases, MongoRuns
from chatferry.extractor.adapters.strangers import MongoStrangers
from chatferry.extractor.flow import RunFlow
from chatferry.extractor.ports import Lease
from chatferry.extractor.steps.context import Drive, Limits, ReadSequence
from chatferry.extractor.steps.parts import Parts
from chatferry.extractor.steps.preflight import ask_portal
from chatferry.extractor.steps.publisher import Store
from chatferry.simulators.bitrix24 import Portal, Running, new_webhook, serve
from chatferry.simulators.bitrix24 import PortalSettings as RulesOfPortal
from chatferry.simulators.bitrix24 import truth as truth_of
from chatferry.stack import Addresses

UNLIMITED = PortalLimits(capacity=1_000_000, per_second=1_000_000, reserve=0)
TOPICS = ("users", "chats", "chat_messages", "runs", "dlq", "commands")
Hook = Callable[[Parts], Parts]


@dataclass
class World:
    """One project on one portal. `formerly`: other names of that portal. `limits` of it as the client knows them,
    `sizes` of the work."""

    project: str
    addresses: Addresses
    running: Running
    client: Client
    database: Database
    redis: Redis
    producer: RecordProducer
    dlq: RecordProducer
    http: httpx.AsyncClient
    webhooks: list[int]
    formerly: tuple[str, ...] = ()
    limits: PortalLimits = UNLIMITED
    sizes: Limits = field(default_factory=lambda: Limits(3, 50, 10, 40, 50, 900_000, (0.0, 0.05, 0.1)))
    clock: SystemClock = field(default_factory=SystemClock)
    metrics: Metrics = field(default_factory=Metrics)
    """Of the last run that was driven."""

    @property
    def portal(self) -> Portal:
        return self.running.portal

    def portal_client(self, limits: PortalLimits | None = None) -> PortalClient:
        webhooks = parse_webhooks([self.running.webhook_url(user) for user in self.webhooks])
        known = limits or self.limits
        bucket = RedisRateBucket(self.redis, webhooks[0].host, known, self.clock, random.Random(1))
        client = PortalClient(webhooks, self.http, bucket, self.clock, self.metrics)
        return client.with_settings(PortalSettings(known, timeout_s=5, attempts_s=(0.0, 0.05, 0.1)))

    async def ask(self, family: str = "chats", phases: Sequence[str] = ("get",), **options: Any) -> str:
        """A run as the operator asks for it; the users' import is vouched for."""
        await self.database.entities.update_one({"_id": "users"}, {"$set": {"imported_run": "earlier"}}, upsert=True)
        run = f"{family}-{uuid.uuid4().hex[:6]}"
        document = {
            "_id": run,
            "project": self.project,
            "portal": self.portal_client().host,
            "family": family,
            "phases": list(phases),
            "options": {"test_limit": None, "max_rate": None, **options},
            "state": "requested",
            "requested_at": datetime.now(UTC),
            "epoch": None,
        }
        await self.database.runs.insert_one(document)
        return run

    def leases(self, seconds: float = 30, owner: str | None = None) -> MongoLeases:
        return MongoLeases(self.database, owner or uuid.uuid4().hex, seconds)

    async def lease(self, seconds: float = 30) -> Lease:
        """Take the portal, from whoever has it: as if that one had been silent for too long."""
        host = self.portal_client().host
        await self.database.leases.update_one(
            {"_id": f"portal:{host}"}, {"$set": {"until": datetime.fromtimestamp(0, UTC)}}
        )
        lease = await self.leases(seconds).acquire(host)
        assert lease is not None
        return lease

    def parts(self, client: PortalClient | None = None) -> Parts:
        client = client or self.portal_client()
        return Parts(
            portal=client,
            webhooks=list(client.webhooks),
            names=(client.host, *self.formerly),
            runs=MongoRuns(self.database),
            families=MongoRuns(self.database),
            records=MongoRecords(self.database, self.clock),
            roots=MongoRoots(self.database),
            inventory=MongoInventory(self.client, self.database, self.clock),
            listings=MongoListings(self.database),
            strangers=MongoStrangers(self.database),
            publishing=Store(
                MongoOutbox(self.database),
                MongoOutbox(self.database),
                MongoOutbox(self.database),
                MongoLetters(self.database, self.project),
                MongoRuns(self.database),
                self.dlq,
            ),
            broker=self.producer,
            progress=MongoProgress(self.database),
            tally=MongoTally(self.database),
            storage=StorageChecks(self.database, self.redis, self.producer, self.project),
            backlog=KafkaBacklog(self.addresses.kafka, self.database, self.project),
            events=RunEvents(self.producer, self.project, client.host, self.clock),
            project=self.project,
        )

    async def drive(self, run: str, hook: Hook = lambda parts: parts, lease: Lease | None = None) -> dict[str, Any]:
        """Drive the run from where it stands under a new lease; its document afterwards."""
        document = await self.database.runs.find_one({"_id": run})
        assert document is not None
        lease, self.metrics = lease or await self.lease(), Metrics()
        client = self.portal_client()
        options = document["options"]
        view = await ask_portal(client, document)
        offset = view.offset if view else document.get("portal_offset", "+00:00")
        drive = Drive(
            run=run,
            lease=lease,
            sequence=ReadSequence(lease.epoch),
            told=Understanding(offset),
            limits=self.sizes,
            clock=self.clock,
            metrics=self.metrics,
            health=Health(),
            jitter=lambda: 1.0,
            newest=options.get("test_limit"),
            method=view.method if view else document.get("method"),
        )
        await self.database.runs.update_one({"_id": run}, {"$set": {"portal_offset": offset}})
        await RunFlow(hook(self.parts(client)), drive, document, view.checks if view else ()).drive()
        return await self.run_document(run)

    async def run_document(self, run: str) -> dict[str, Any]:
        found = await self.database.runs.find_one({"_id": run})
        assert found is not None
        return found

    async def get(self, family: str = "chats", hook: Hook = lambda parts: parts, **options: Any) -> dict[str, Any]:
        """A Get from its request to its end."""
        return await self.drive(await self.ask(family, **options), hook)

    async def stored(self, entity: str) -> dict[int, dict[str, Any]]:
        """Every record's document by its number."""
        return {doc["seq"]: doc async for doc in self.database[entity].find({"seq": {"$gt": 0}})}

    async def rows(self) -> dict[int, dict[str, Any]]:
        return {row["seq"]: row async for row in self.database.source_inventory.find({"kind": "root"})}

    async def account(self, entity: str, parent: int | None = None) -> Account:
        family = FAMILIES[ENTITIES[entity].family]
        return await account(self.database, ENTITIES[entity], family, parent)

    def truth(self, chat: int) -> dict[int, dict[str, Any]]:
        """Messages of a chat as the portal has them, by id."""
        webhook = next(hook for hook in self.portal.webhooks.values() if hook.user_id == self.webhooks[0])
        return {row["id"]: row for row in truth_of.messages(self.portal, webhook, chat)}

    async def assert_equal_to_the_portal(self) -> None:
        """Every message of every chat is stored as the portal has it; nothing else is, but as a tombstone."""
        stored = await self.stored("chat_messages")
        there: set[int] = set()
        for chat in self.portal.chats:
            for number, row in self.truth(chat).items():
                there.add(number)
                payload = stored[number]["payload"]
                assert payload["chat_id"] == chat
                assert payload["text"] == row["text"]
                assert payload["author_id"] == row["author_id"]
                assert payload["edited"] == row["edited"]
                assert payload["deleted"] == row["deleted"]
                assert payload["reply_to"] == row["reply_to"]
                assert [file["id"] for file in payload["files"]] == sorted(file["id"] for file in row["files"])
        lost = [stored[number]["payload"]["deleted"] for number in stored.keys() - there]
        assert all(lost)
        chats = await self.stored("chats")
        assert chats.keys() >= self.portal.chats.keys()
        for number, chat_ in self.portal.chats.items():
            # The chat of the whole company shows its active members only.
            shown = [user for user in chat_.members if not chat_.general or self.portal.users[user].active]
            assert chats[number]["payload"]["participant_ids"] == sorted(shown), number

    async def assert_balanced(self, due: int = 0) -> None:
        """The ledger of records, and of every chat; `due`: messages held back because their walk has failed."""
        for entity in ("chats", "chat_messages"):
            total = await self.account(entity)
            assert total.balanced, (entity, total)
            assert total.due == (due if entity == "chat_messages" else 0), (entity, total)
        for seq in await self.rows():
            one = await self.account("chat_messages", seq)
            assert one.balanced, (seq, one)

    async def assert_intervals(self, run: str) -> None:
        """Pages of each closed walk follow one another without overlap and cover all ids up to the watermark."""
        pages: dict[int, list[tuple[int, int]]] = defaultdict(list)
        counts: dict[int, int] = defaultdict(int)
        async for page in self.database.page_log.find({"run": run}):
            pages[page["parent"]].append((page["lo"], page["hi"]))
            counts[page["parent"]] += page["count"]
        for seq, row in (await self.rows()).items():
            if row["run"] != run or row["state"] != "closed":
                continue
            intervals = sorted(pages[seq])
            assert all(before[1] == after[0] for before, after in pairwise(intervals)), (seq, intervals)
            assert intervals[0][0] <= 1, (seq, intervals)
            assert intervals[-1][1] == row["watermark"] + 1, (seq, intervals, row)
            assert counts[seq] == row["listed"], seq


@dataclass
class Sent:
    """A broker that hands on and remembers."""

    inner: Any
    batches: list[list[Any]] = field(default_factory=list)

    async def send(self, records: Sequence[Any]) -> None:
        self.batches.append(list(records))
        await self.inner.send(records)

    def headers(self) -> list[Mapping[str, bytes]]:
        return [dict(record.headers) for batch in self.batches for record in batch]


def remembering(parts: Parts) -> tuple[Parts, Sent]:
    """The same parts with a broker that remembers what it sent."""
    sent = Sent(parts.broker)
    return replace(parts, broker=sent, publishing=replace(parts.publishing, dlq=sent)), sent


@asynccontextmanager
async def a_world(
    addresses: Addresses,
    portal: Portal,
    rules: RulesOfPortal | None = None,
    webhooks: Sequence[int] = (),
    topics_of: str | None = None,
) -> AsyncIterator[World]:
    """A fresh project on a portal that answers; `topics_of`: a project whose topics are there already."""
    project = topics_of or f"ext-{uuid.uuid4().hex[:8]}"
    users = list(webhooks) or [max(portal.users)]
    for user in users:
        new_webhook(portal, user)
    client = open_client(addresses.mongodb)
    database = open_database(client, f"chatferry_{project.replace('-', '_')}_{uuid.uuid4().hex[:6]}")
    redis = Redis.from_url(addresses.redis)
    producer = RecordProducer(addresses.kafka, client_id=f"{project}.tests")
    dlq = RecordProducer(addresses.kafka, client_id=f"{project}.tests.dlq", batch_bytes=1_120_000)
    admin = AIOKafkaAdminClient(bootstrap_servers=addresses.kafka)
    await admin.start()
    names = [f"{project}.{name}" for name in TOPICS]
    try:
        if topics_of is None:
            await admin.create_topics([NewTopic(name, 2, 1) for name in names])
            await until_served(admin, names)
        await create_indexes(database)
        await database.entities.insert_one({"_id": "mapping", "fingerprint": mapping_fingerprint()})
        async with serve(portal, rules) as running, httpx.AsyncClient() as http:
            world = World(project, addresses, running, client, database, redis, producer, dlq, http, users)
            empty: dict[Any, Any] = {"level": "0", "at": "0", "run": (await redis.info("server"))["run_id"]}
            await redis.hset(f"chatferry:portal:{world.portal_client().host}:bucket", mapping=empty)
            yield world
    finally:
        await producer.close()
        await dlq.close()
        if topics_of is None:
            await admin.delete_topics(names)
        await admin.close()
        await redis.aclose()
        await client.drop_database(database.name)
        client.close()
