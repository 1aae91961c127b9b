"""A portal's records on a real Kafka and MongoDB, a target that can misbehave over HTTP, and the importer between."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from chatferry.common.adapters.mongo import Client, Database, open_client, open_database
from chatferry.common.bootstrap import until_served
from chatferry.common.contracts.canonical import canonical_json
from chatferry.common.contracts.envelope import REPLAY_OF, Headers, common_headers, record_headers
from chatferry.common.documents import ENTITY_STATES, NEW, create_indexes
from chatferry.common.entities import ENTITIES, FAMILIES
from chatferry.common.errors import OutageError
from chatferry.common.service import Context
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing
from chatferry.importer.app import work
from chatferry.importer.settings import ImporterSettings
from chatferry.stack import Addresses

SECRET = "s3cr3t-of-tests"
Answer = tuple[int, bytes, dict[str, str]]
Behaviour = Callable[[str, list[dict[str, Any]]], Awaitable[Answer | None]]


def user(number: int, name: str = "Анна") -> dict[str, Any]:
    """A canonical user."""
    nothing = dict.fromkeys(("first_name", "last_name", "email", "work_position"))
    return {"id": number, "name": name, "active": True, "bot": False, "external": False, "departments": [], **nothing}


def chat(number: int, title: str = "Отдел") -> dict[str, Any]:
    """A canonical chat."""
    nothing = dict.fromkeys(("description", "owner_id", "created_at", "entity_type", "entity_id"))
    return {"id": number, "type": "group", "title": title, "manager_ids": [], "participant_ids": [7], **nothing}


def message(number: int, chat_id: int, text: str = "Привет!") -> dict[str, Any]:
    """A canonical message."""
    moment = "2026-03-04T09:42:31+03:00"
    return {
        "id": number,
        "chat_id": chat_id,
        "author_id": 7,
        "text": text,
        "sent_at": {"source_original": moment, "utc": "2026-03-04T06:42:31Z", "original_offset": "+03:00"},
        "system": False,
        "deleted": False,
        "edited": False,
        "reply_to": None,
        "forwarded_from": None,
        "files": [],
        "reactions": [],
    }


class FakeTarget:
    """Keeps what it is sent by the protocol's version rule. `behave` may answer instead; `down()` closes the port."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.order: dict[int, list[int]] = defaultdict(list)
        self.applied: dict[tuple[str, int], int] = defaultdict(int)
        self.calls: list[tuple[str, list[str]]] = []
        self.refuse_items: dict[str, dict[str, Any]] = {}
        self.behave: Behaviour | None = None
        self.probe_fails = False
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/rest/1/{SECRET}"

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status, content, more = await self._answer(head[0].split()[1], body)
                lines = [
                    f"HTTP/1.1 {status} X",
                    f"content-length: {len(content)}",
                    *(f"{k}: {v}" for k, v in more.items()),
                ]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, path: str, body: bytes) -> Answer:
        _, _, _, secret, method = path.split("/")
        if secret != SECRET:
            return 401, b"{}", {}
        request = orjson.loads(body)
        if method.endswith(".count"):
            if self.probe_fails:
                return 503, b"{}", {}
            return 200, orjson.dumps({"count": len(self.stored)}), {}
        items = request["items"]
        self.calls.append((request["entity"], [item["key"] for item in items]))
        if self.behave is not None:
            answer = await self.behave(request["entity"], items)
            if answer is not None:
                return answer
        return 200, orjson.dumps({"results": [self._apply(request["entity"], item) for item in items]}), {}

    def _apply(self, entity: str, item: dict[str, Any]) -> dict[str, Any]:
        key = item["key"]
        if key in self.refuse_items:
            return {"key": key, "status": "error", "message": "SECRET TEXT", **self.refuse_items[key]}
        assert hashlib.sha256(canonical_json(item["data"])).hexdigest() == item["hash"]
        if entity == "chat_messages" and f"source:chat:{item['data']['chat_id']}" not in self.stored:
            return {"key": key, "status": "error", "code": "PARENT_MISSING", "retryable": False}
        before = self.stored.get(key)
        if before is not None and before["version"] >= item["version"]:
            return {
                "key": key,
                "id": before["id"],
                "status": "unchanged" if before["version"] == item["version"] else "stale",
            }
        self.applied[key, item["version"]] += 1
        if entity == "chat_messages":
            self.order[item["data"]["chat_id"]].append(item["data"]["id"])
        number = before["id"] if before else f"t{len(self.stored) + 1}"
        self.stored[key] = {"id": number, **item}
        return {"key": key, "id": number, "status": "updated" if before else "created"}


@dataclass
class World:
    """One project."""

    project: str
    addresses: Addresses
    client: Client
    database: Database
    target: FakeTarget
    producer: RecordProducer
    partitions: int = 3
    extra: dict[str, Any] = field(default_factory=dict)

    def topic(self, name: str) -> str:
        return f"{self.project}.{name}"

    def settings(self, **changes: Any) -> ImporterSettings:
        given: dict[str, Any] = {
            "project": self.project,
            "mongodb": self.addresses.mongodb,
            "kafka": self.addresses.kafka,
            "redis": self.addresses.redis,
            "target_url": self.target.url,
            "retry_delays_seconds": (0.2, 0.4),
            **self.extra,
            **changes,
        }
        return ImporterSettings(**given)

    async def open(self, *families: str, is_open: bool = True) -> None:
        for family in families or FAMILIES:
            await self.database[ENTITY_STATES].update_one({"_id": family}, {"$set": {"set_open": is_open}}, upsert=True)

    async def store(self, entity: str, payloads: Iterable[Mapping[str, Any]], version: int = 10) -> None:
        declared = ENTITIES[entity]
        rows = [
            {
                "_id": declared.key(payload["id"]),
                "seq": payload["id"],
                "parent": declared.parent_of(payload) if declared.parent_of else None,
                "payload": payload,
                "payload_hash": hashlib.sha256(canonical_json(payload)).hexdigest(),
                "version": version,
                "status": NEW,
            }
            for payload in payloads
        ]
        for row in rows:
            await self.database[entity].update_one({"_id": row["_id"]}, {"$set": row}, upsert=True)

    def outgoing(
        self, entity: str, payload: Mapping[str, Any], version: int = 10, replay_of: str | None = None
    ) -> Outgoing:
        declared = ENTITIES[entity]
        line = declared.parent_of(payload) if declared.parent_of else payload["id"]
        common: Headers = common_headers(f"/chatferry/{self.project}/portal.test", datetime.now(UTC), None)
        headers = record_headers(declared.key(payload["id"]), version, declared.event_type, common=common)
        if replay_of:
            headers = (*headers, (REPLAY_OF, replay_of.encode()))
        return Outgoing(self.topic(entity), b"%d" % line, canonical_json(payload), headers)

    async def publish(self, entity: str, payloads: Sequence[Mapping[str, Any]], version: int = 10) -> None:
        await self.store(entity, payloads, version)
        await self.producer.send([self.outgoing(entity, payload, version) for payload in payloads])

    @asynccontextmanager
    async def importer(self, **changes: Any) -> AsyncIterator[Context]:
        """The importer as the service runs it, in this loop."""
        context = Context()
        running = work(self.settings(**changes))

        async def keep_working() -> None:
            while not context.stopping.is_set():
                try:
                    await running(context)
                except OutageError:
                    await asyncio.sleep(0.1)

        task = asyncio.create_task(keep_working())
        try:
            yield context
            assert not task.done(), task.exception()
        finally:
            context.stopping.set()
            await asyncio.wait([task], timeout=15)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def statuses(self, entity: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        async for row in self.database[entity].aggregate([{"$group": {"_id": "$status", "n": {"$sum": 1}}}]):
            counts[row["_id"]] = row["n"]
        return counts

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 20) -> None:
        """Poll; fail with what was waited for."""
        try:
            async with asyncio.timeout(seconds):
                while not await condition():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s: {what}; {await self.picture()}") from None

    async def until_nothing_is_parked(self) -> None:
        """Rows go after the statuses: whoever has just seen these may still see them, and must not end the importer."""

        async def gone() -> bool:
            return bool(await self.database.parked.count_documents({}) == 0)

        await self.until(gone, "nothing parked")

    async def until_statuses(self, entity: str, wanted: dict[str, int], seconds: float = 20) -> None:
        async def there() -> bool:
            return await self.statuses(entity) == wanted

        await self.until(there, f"{entity} {wanted}", seconds)

    async def picture(self) -> str:
        seen = {entity: await self.statuses(entity) for entity in ENTITIES}
        parked = await self.database.parked.count_documents({})
        return f"{seen}, parked {parked}, calls {len(self.target.calls)}"

    async def read(self, topic: str) -> list[Any]:
        """Every record of a topic."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.addresses.kafka, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partitions = [TopicPartition(self.topic(topic), number) for number in range(self.partitions)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            records: list[Any] = []
            while any([await consumer.position(p) < ends[p] for p in partitions]):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records += batch
            return records
        finally:
            await consumer.stop()

    async def committed(self) -> dict[tuple[str, int], int]:
        """The importer group's offsets."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.addresses.kafka)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(f"{self.project}.importer")
            return {(p.topic, p.partition): o.offset for p, o in offsets.items()}
        finally:
            await admin.close()


@asynccontextmanager
async def a_world(addresses: Addresses, project: str, partitions: int = 3) -> AsyncIterator[World]:
    """Topics, database and target of a fresh project."""
    admin = AIOKafkaAdminClient(bootstrap_servers=addresses.kafka)
    await admin.start()
    topics = [f"{project}.{name}" for name in (*ENTITIES, "results", "dlq")]
    client = open_client(addresses.mongodb)
    database = open_database(client, f"chatferry_{project.replace('-', '_')}")
    producer = RecordProducer(addresses.kafka, client_id=f"{project}.tests")
    target = FakeTarget()
    try:
        await admin.create_topics(
            [NewTopic(name, partitions, 1, topic_configs={"max.message.bytes": "1200000"}) for name in topics]
        )
        await until_served(admin, topics)
        await create_indexes(database)
        await target.up()
        yield World(project, addresses, client, database, target, producer, partitions)
    finally:
        await target.down()
        await producer.close()
        await admin.delete_topics(topics)
        await client.drop_database(database.name)
        client.close()
        await admin.close()
