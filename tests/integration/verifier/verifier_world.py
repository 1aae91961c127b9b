"""A finished migration as MongoDB and a target hold it, made by hand, and the verifier put to work on it."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import SecretStr

from chatferry.common.adapters.mongo import Database, Document, open_client, open_database
from chatferry.common.bootstrap import until_served
from chatferry.common.contracts.canonical import payload_hash
from chatferry.common.contracts.times import source_time
from chatferry.common.documents import create_indexes
from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.service import Context
from chatferry.common.streaming.producer import RecordProducer
from chatferry.stack import Addresses
from chatferry.verifier.adapters.patient import PatientTarget
from chatferry.verifier.adapters.target import HttpTarget, TargetAddress, open_http
from chatferry.verifier.app import build_watch
from chatferry.verifier.handlers import Watch
from chatferry.verifier.settings import VerifierSettings

RUN = "run-1"
WITHIN_S = 30.0
_VERSION = 3_000_000


def user(number: int) -> Document:
    return {
        "id": number,
        "name": f"Анна {number}",
        "first_name": "Анна",
        "last_name": None,
        "email": f"u{number}@example.org",
        "active": number % 7 != 0,
        "bot": False,
        "external": False,
        "work_position": None,
        "departments": [1],
    }


def chat(number: int, people: Sequence[int]) -> Document:
    return {
        "id": number,
        "type": "group",
        "title": f"Chat {number}",
        "description": None,
        "owner_id": people[0],
        "manager_ids": [],
        "participant_ids": sorted(people),
        "created_at": source_time("2024-01-02T03:04:05+03:00", "+03:00")[0],
        "entity_type": None,
        "entity_id": None,
    }


def message(number: int, chat_id: int, author: int | None, text: str) -> Document:
    moment = f"2024-05-{number % 28 + 1:02d}T{number % 24:02d}:15:00+03:00"
    return {
        "id": number,
        "chat_id": chat_id,
        "author_id": author,
        "text": text,
        "sent_at": source_time(moment, "+03:00")[0],
        "system": author is None,
        "deleted": False,
        "edited": False,
        "reply_to": None,
        "forwarded_from": None,
        "files": [{"id": number, "name": "a.png", "size_bytes": 12, "mime_type": None}] if number % 9 == 0 else [],
        "reactions": [],
    }


@dataclass(slots=True)
class World:
    """One project. `fill` makes the migration; the rest breaks it, or verifies it."""

    database: Database
    target_url: str
    settings: VerifierSettings
    http: httpx.AsyncClient
    context: Context = field(default_factory=Context)

    async def fill(self, *, chats: int = 4, messages: int = 40, users: int = 9) -> None:
        """As after a Set that went well: chats of 1 to 2 × `messages` messages, each with three people."""
        chance = random.Random(7)
        await create_indexes(self.database)
        await self.records("users", [user(number) for number in range(1, users + 1)])
        people = {number: sorted(chance.sample(range(1, users + 1), 3)) for number in range(101, 101 + chats)}
        await self.records("chats", [chat(number, members) for number, members in people.items()])
        number = 1_000
        for chat_id, members in people.items():
            rows = []
            for _ in range(chance.randint(1, 2 * messages)):
                number += chance.randint(1, 3)
                author = chance.choice([None, *members])
                rows.append(message(number, chat_id, author, f"[B]Привет[/B] \U0001f600 {chance.random()}"))
            await self.records("chat_messages", rows)
            await self.inventory(chat_id, claimed=len(rows), listed=len(rows))
        await self.database["source_inventory"].insert_one(
            {
                "_id": "listing:users",
                "kind": "listing",
                "entity": "users",
                "family": "users",
                "state": "closed",
                "claimed": users,
                "listed": users,
                "absent": 0,
                "rejected": 0,
                "gap": 0,
            }
        )

    async def records(self, name: str, payloads: Sequence[Document], *, at_target: bool = True) -> None:
        """Records in MongoDB as imported, and at the target."""
        entity = ENTITIES[name]
        documents = [
            {
                "_id": entity.key(payload["id"]),
                "seq": payload["id"],
                "parent": entity.parent_of(payload) if entity.parent_of else None,
                "payload": payload,
                "payload_hash": payload_hash(payload),
                "version": _VERSION + payload["id"],
                "status": "IMPORT_OK" if at_target else "NEW",
                **({"imported_version": _VERSION + payload["id"]} if at_target else {}),
            }
            for payload in payloads
        ]
        await self.database[name].insert_many(documents)
        if at_target:
            await self.send(name, documents)

    async def send(self, name: str, documents: Sequence[Document]) -> None:
        entity = ENTITIES[name]
        for start in range(0, len(documents), 100):
            items = [
                {"key": one["_id"], "version": one["version"], "hash": one["payload_hash"], "data": one["payload"]}
                for one in documents[start : start + 100]
            ]
            answer = await self.http.post(
                f"{self.target_url}/import.{entity.family}.batch", json={"entity": name, "items": items}
            )
            assert answer.status_code == 200, answer.text
            results = answer.json()["results"]
            assert {one["status"] for one in results} <= {"created", "updated"}, results
            await self._note_ids(entity, {one["key"]: one["id"] for one in results})

    async def _note_ids(self, entity: Entity, ids: dict[str, str]) -> None:
        """As the importer does."""
        for key, target_id in ids.items():
            told = {"$set": {"imported_hash": "$payload_hash", "target_id": {"$literal": target_id}}}
            await self.database[entity.name].update_one({"_id": key}, [told])
        if entity.parent is None:
            rows = [{"_id": key, "entity": entity.name, "target_id": target_id} for key, target_id in ids.items()]
            await self.database["id_map"].insert_many(rows)

    async def inventory(self, chat_id: int, **fields: Any) -> None:
        row = {
            "_id": f"source:chat:{chat_id}",
            "family": "chats",
            "entity": "chats",
            "kind": "root",
            "seq": chat_id,
            "run": RUN,
            "state": "closed",
            "stored": True,
            "absent": 0,
            "rejected": 0,
            "gap": 0,
            "reason": None,
        }
        ids = [one["seq"] async for one in self.database["chat_messages"].find({"parent": chat_id}).sort("seq", -1)]
        row["watermark"] = ids[0] if ids else 0
        await self.database["source_inventory"].insert_one({**row, **fields})
        await self._log_pages(chat_id, ids)

    async def walked_again(self, chat_id: int) -> None:
        """The chat's row and pages say that all that is stored of it now was read."""
        ids = [one["seq"] async for one in self.database["chat_messages"].find({"parent": chat_id}).sort("seq", -1)]
        fields = {"listed": len(ids), "claimed": len(ids), "watermark": ids[0]}
        await self.database["source_inventory"].update_one({"_id": f"source:chat:{chat_id}"}, {"$set": fields})
        await self.database["page_log"].delete_many({"parent": chat_id})
        await self._log_pages(chat_id, ids)

    async def _log_pages(self, chat_id: int, ids: Sequence[int]) -> None:
        """From the newest to the oldest, ten a page."""
        hi, entries = (ids[0] if ids else 0) + 1, []
        for start in range(0, len(ids) + 1, 10):
            rows = ids[start : start + 10]
            lo = rows[-1] if len(rows) == 10 else 0
            page = {"_id": f"{RUN}/chat_messages/{chat_id}/{hi}", "run": RUN, "entity": "chat_messages"}
            entries.append({**page, "parent": chat_id, "lo": lo, "hi": hi, "count": len(rows), "absent": 0})
            hi = lo
        await self.database["page_log"].insert_many(entries)

    async def ask(self, run: str = RUN, *, phase: str = "verify", family: str = "chats", **options: Any) -> None:
        """A run that wants a verification now."""
        now = datetime.now(UTC)
        await self.database["runs"].insert_one(
            {
                "_id": run,
                "project": self.settings.project,
                "family": family,
                "phases": ["get", "set", "verify"],
                "options": {"test_limit": None, **options},
                "state": "running",
                "phase": phase,
                "timings": {"get": {"started_at": now}, "verify": {"started_at": now}},
                "method": "im.dialog.messages.get",
                "requested_at": now,
            }
        )

    def watch(self, producer: RecordProducer) -> Watch:
        page, context = self.settings.verify_page, self.context
        target = HttpTarget(self.http, self.target_url, page, context.metrics, context.clock)
        patient = PatientTarget(target, self.context.clock, self.context.health)
        return build_watch(self.settings, self.database, patient, producer, self.context)

    async def report(self, report: str = RUN) -> Document:
        """The report, as soon as it is written by the verifier that is at work."""
        found: Document | None = None

        async def written() -> bool:
            nonlocal found
            found = await self.database["verify_reports"].find_one({"_id": report})
            return found is not None

        await until(written)
        assert found is not None
        return found

    async def verified(self, run: str = RUN, **options: Any) -> Document:
        """Ask for a verification, and give its report."""
        await self.ask(run, **options)
        async with self.at_work():
            return await self.report(run)

    async def verified_by(self, run: str) -> Document:
        """The report of another run, by the verifier that is at work."""
        await self.ask(run)
        return await self.report(run)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Watch]:
        """A verifier that works as long as the block lasts, and goes on after outages, as a service does."""
        producer = RecordProducer(self.settings.kafka, client_id="tests-verifier")
        watch, stopping = self.watch(producer), asyncio.Event()
        task = asyncio.create_task(watch.until(stopping))
        try:
            yield watch
        finally:
            stopping.set()
            with suppress(asyncio.CancelledError):
                await task
            await producer.close()

    async def mismatches(self, **query: Any) -> list[Document]:
        return [row async for row in self.database["mismatches"].find(query).sort("_id", 1)]


async def until(condition: Callable[[], Any], within_s: float = WITHIN_S) -> None:
    """Wait for a condition with a deadline."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, "this did not happen in time"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def a_world(stack: Addresses, target_url: str, project: str | None = None) -> AsyncIterator[World]:
    """A fresh project on the stack, dropped at the end."""
    name = project or f"v{secrets.token_hex(4)}"
    settings = VerifierSettings(
        project=name,
        kafka=stack.kafka,
        mongodb=SecretStr(stack.mongodb),
        redis=SecretStr(stack.redis),
        target_url=SecretStr(target_url),
        verify_poll_seconds=0.05,
        verify_page=7,
        verify_lease_seconds=2,
    )
    client = open_client(stack.mongodb)
    http = open_http(TargetAddress(target_url, None, 5, 4))
    await make_topic(stack.kafka, settings.topic("runs"))
    try:
        yield World(open_database(client, settings.database), target_url, settings, http)
    finally:
        await http.aclose()
        await client.drop_database(settings.database)
        client.close()


async def make_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
        await until_served(admin, [name])
    finally:
        await admin.close()
