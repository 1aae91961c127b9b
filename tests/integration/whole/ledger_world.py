"""Projects for the stranger's ledger: one with records of every end, stopped, with its target still answering."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from tests.integration.whole.running import Json, Running, until

CHECKER = Path(__file__).parents[3] / "tools" / "check_ledger.py"
REFUSED_CHAT, ODD_MESSAGE, SKIPPED_MESSAGE = 4, 50, 51
TAMPERED: dict[str, tuple[tuple[str, Json], ...]] = {
    "messages": (
        ("author_id", {"author": 12}),
        ("text", {"text": "tampered"}),
        ("sent_at", {"sent.at": datetime(2020, 1, 1, tzinfo=UTC)}),
        ("system", {"marks": ["system"]}),
        ("deleted", {"marks": ["deleted"]}),
        ("edited", {"marks": ["edited"]}),
        ("reply_to", {"reply_to": 7}),
        ("forwarded_from", {"forwarded": {"chat": 1, "message": 2, "user": 3}}),
        ("files", {"attachments.0.file": 99}),
        ("files", {"attachments.0.name": "tampered.pdf"}),
        ("files", {"attachments.0.bytes": 1}),
        ("files", {"attachments.0.mime": "text/plain"}),
        ("files", {"attachments": []}),
        ("reactions", {"reactions": [{"kind": "like", "users": [1]}]}),
    ),
    "chats": (
        ("type", {"kind": "open"}),
        ("title", {"title": "tampered"}),
        ("description", {"about": "tampered"}),
        ("owner_id", {"owner": 99}),
        ("manager_ids", {"managers": [99]}),
        ("participant_ids", {"members": [1]}),
        ("created_at", {"created.at": datetime(2020, 1, 1, tzinfo=UTC)}),
        ("entity_type", {"bound_to.type": "CRM"}),
        ("entity_id", {"bound_to.id": "DEAL|1"}),
    ),
    "users": (
        ("name", {"names.full": "tampered"}),
        ("first_name", {"names.first": "tampered"}),
        ("last_name", {"names.last": "tampered"}),
        ("email", {"email": "tampered@example.com"}),
        ("active", {"active": None}),
        ("bot", {"bot": True}),
        ("external", {"external": True}),
        ("work_position", {"position": "tampered"}),
        ("departments", {"departments": [9]}),
    ),
}
"""By collection of the target: a field of the record, and a change of the document that makes it another."""
_LARGEST = {"CHATFERRY_RECORD_BYTES_MAX": "4096"}


@dataclass(frozen=True)
class Verdict:
    """What the checker said. `named`: its lines about what does not agree."""

    code: int
    output: str

    @property
    def named(self) -> list[str]:
        return [line for line in self.output.splitlines() if ": " in line]

    def assert_agrees(self) -> None:
        assert self.code == 0, self.output

    def assert_names(self, *lines: str) -> None:
        """It does not agree, and each of these is part of a line of its own that says where and what."""
        assert self.code == 1, self.output
        assert all(any(line in said for said in self.named) for line in lines), self.output


def check(status: Path, *options: str) -> Verdict:
    """The checker as a person starts it; nothing of chatferry's settings is in its environment."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("CHATFERRY_")}
    command = [sys.executable, str(CHECKER), "--status", str(status), *options]
    ended = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    return Verdict(ended.returncode, ended.stdout)


def save_status(project: Running, file: Path) -> Path:
    file.write_text(project.run("status", "--json"), encoding="utf-8")
    return file


def spoil(folder: Path) -> None:
    """One chat that is too large to be taken, and two messages of another whose date does not exist."""
    _rewrite(folder / "chats.jsonl", {REFUSED_CHAT: {"title": "Ч" * 5000, "type": "group"}})
    odd = {"date": "2024-02-30T25:61:00+03:00", "chat_id": 1}
    _rewrite(folder / "messages.jsonl", {ODD_MESSAGE: odd, SKIPPED_MESSAGE: odd})


def _rewrite(file: Path, changes: dict[int, Json]) -> None:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps(row | changes.get(row["id"], {}), ensure_ascii=False) + "\n" for row in rows]
    file.write_text("".join(lines), encoding="utf-8")


@dataclass
class Stopped:
    """A project whose services are down, but for its target. `status`: what it said before."""

    project: Running
    status: Path

    @property
    def database(self) -> Any:
        return self.project.database()

    @property
    def target(self) -> Any:
        return self.project.database("chatferry_chat_")

    @property
    def topic(self) -> str:
        return f"{json.loads(self.status.read_text(encoding='utf-8'))['project']}.chat_messages"

    def check(self) -> Verdict:
        return check(self.status, "--portal-data", str(self.project.data))

    @contextmanager
    def changed(self, collection: Any, row: Json, change: Json | None) -> Iterator[None]:
        """With a document changed, or without it (None), and afterwards as it was."""
        if change is None:
            collection.delete_one({"_id": row["_id"]})
        else:
            assert collection.update_one({"_id": row["_id"]}, change).modified_count == 1
        try:
            yield
        finally:
            collection.replace_one({"_id": row["_id"]}, row, upsert=True)

    def publish(self, key: str, version: int, kafka_key: bytes, replay_of: str | None = None) -> TopicPartition:
        """A record on the topic that nobody has taken yet; its place."""
        headers = [("ce_subject", key.encode()), ("ce_recordversion", b"%d" % version)]
        if replay_of is not None:
            headers.append(("replay-of", replay_of.encode()))

        async def send() -> Any:
            producer = AIOKafkaProducer(bootstrap_servers=self.project.stack.kafka)
            await producer.start()
            try:
                return await producer.send_and_wait(self.topic, b"{}", key=kafka_key, headers=headers)
            finally:
                await producer.stop()

        return TopicPartition(self.topic, asyncio.run(send()).partition)

    def delivered(self, record: Json) -> str:
        """Where the message's first delivery lies: topic/partition/offset."""
        return asyncio.run(self._find(record))

    async def _find(self, record: Json) -> str:
        bootstrap = self.project.stack.kafka
        consumer = AIOKafkaConsumer(
            self.topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=10_000
        )
        await consumer.start()
        try:
            async for one in consumer:
                if dict(one.headers).get("ce_subject") == record["_id"].encode():
                    return f"{one.topic}/{one.partition}/{one.offset}"
        finally:
            await consumer.stop()
        raise AssertionError(f"{record['_id']} is not on its topic")

    @contextmanager
    def committed(self, place: TopicPartition, by: int) -> Iterator[int]:
        """With the importers' offset moved on by hand; the offset that it was at."""
        before = asyncio.run(self._commit(place, by))
        try:
            yield before
        finally:
            asyncio.run(self._commit(place, -by))

    async def _commit(self, place: TopicPartition, by: int) -> int:
        group = f"{self.topic.rpartition('.')[0]}.importer"
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.project.stack.kafka, group_id=group, enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([place])
            before = int(await consumer.committed(place) or 0)
            await consumer.commit({place: before + by})
        finally:
            await consumer.stop()
        return before


def with_every_end(project: Running, status: Path) -> Iterator[Stopped]:
    """Records that are done, skipped, dead (of extractor and importer) and parked, at rest."""
    project.more.update(_LARGEST)
    spoil(project.data)
    project.demo(code=1)
    database = project.database()
    _skip(database, f"source:chat:msg:{SKIPPED_MESSAGE}")
    stopped = Stopped(project, save_status(project, status))
    stopped.publish("source:chat:msg:1000000", 1, b"1")
    until(lambda: database.dead_letters.count_documents({"service": "importer"}), "the importer's dead letter")
    save_status(project, status)
    project.run("down")
    with _target_alone(project):
        yield stopped


def _skip(database: Any, key: str) -> None:
    """As a discard leaves it (design: data.md §4)."""
    database.dead_letters.update_one({"key": key}, {"$set": {"state": "discarded"}})
    database.chat_messages.update_one({"_id": key}, {"$set": {"status": "SKIPPED", "skip_reason": "discarded"}})


@contextmanager
def _target_alone(project: Running) -> Iterator[None]:
    url = urlsplit((project.local / "secrets" / "target.url").read_text(encoding="utf-8").strip())
    own = {
        "CHATFERRY_PROJECT": json.loads((project.local / "project.json").read_text(encoding="utf-8"))["name"],
        "CHATFERRY_CHAT_WEBHOOK_SECRET_FILE": str(project.local / "secrets" / "target.secret"),
        "CHATFERRY_HTTP_PORT": str(url.port),
    }
    with (project.local / "logs" / "target-alone.log").open("wb") as log:
        command = [sys.executable, "-m", "chatferry.chat"]
        process = subprocess.Popen(command, env={**project.environment, **own}, stdout=log, stderr=log)
    try:
        until(lambda: _answers(f"http://{url.netloc}/readyz"), "the target answers")
        yield
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
