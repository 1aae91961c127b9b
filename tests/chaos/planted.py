"""Planted secrets, phone numbers and texts, under faults of all kinds: they are in no log, metric, span, header or
report. The target is a stranger who quotes records in its errors; every service logs at DEBUG."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import httpx
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from starlette.responses import Response
from tests.chaos.frame import Chaos, Json, Passed, Site, chaos_project, slowed
from tests.chaos.proof import command
from tests.chaos.proxy import TargetProxy
from tests.integration.whole.running import write_folder

from chatferry.operator.launch import SERVICES

NAME = "secrets"
_CANARY, _PHONE = "CANARYTEXT", "905123"
_REFUSED_EVERY = 40
_TOPICS = ("dlq", "results", "runs", "commands")
_FAULTS = ("html_502", "cut_body", "reset", "server_error")


@dataclass(frozen=True, slots=True)
class Scale:
    """Size of the portal."""

    messages: int
    chats: int


SHORT = Scale(messages=300, chats=6)
LONG = Scale(messages=5_000, chats=40)


class Quoting(TargetProxy):
    """Refuses some messages for good, now and then a whole call; and quotes what it was given."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "quoting")
        self._calls = 0

    async def answer(self, method: str, body: bytes) -> Response:
        if not method.endswith(".batch"):
            return await self.pass_on(method, body)
        self._calls += 1
        if self._calls % 5 == 0:
            return Response(b"cannot serve " + f"{self.url}/{method}".encode() + body[:2000], 500)
        wanted = orjson.loads(body)
        refused = {item["key"]: item for item in wanted["items"] if _is_refused(wanted["entity"], item["data"])}
        passing = [item for item in wanted["items"] if item["key"] not in refused]
        there: dict[str, Json] = {}
        if passing:
            answer = await self.pass_on(method, orjson.dumps({**wanted, "items": passing}))
            if answer.status_code != httpx.codes.OK:
                return answer
            there = {result["key"]: result for result in orjson.loads(answer.body)["results"]}
        for key, item in refused.items():
            text = item["data"]["text"]
            error = {"key": key, "status": "error", "code": f"INVALID {text}", "message": text, "retryable": False}
            there[key] = error
        results = [there[item["key"]] for item in wanted["items"]]
        return Response(orjson.dumps({"results": results}), media_type="application/json")


def _is_refused(entity: str, data: Json) -> bool:
    return entity == "chat_messages" and data["id"] % _REFUSED_EVERY == 0


@dataclass(slots=True)
class Collector:
    """Takes spans as an OTLP collector does, and keeps their bytes."""

    bodies: list[bytes] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Collector:
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                bodies.append(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    _server: ThreadingHTTPServer = field(init=False)
    _thread: threading.Thread = field(init=False)


def disturb(root: Path, seed: int, scale: Scale) -> Passed:
    """Raises AssertionError with where which kind of secret was found; never with the secret."""
    data = _plant(root / "planted", seed, scale)
    with Collector() as collector, Quoting(root) as target:
        own = {"CHATFERRY_LOG_LEVEL": "DEBUG", "CHATFERRY_OTLP_ENDPOINT": collector.url}
        site = Site("secrets", seed, data=data, settings={**slowed(20), **target.settings, **own})
        with chaos_project(root, site, own_stack=True) as chaos:
            said = [_command(chaos, "migrate", "users")]
            asyncio.run(_write_garbage(chaos))
            _break_the_portal(chaos, seed)
            said.append(_command(chaos, "migrate", "chats"))
            said += [_command(chaos, *words) for words in (["status"], ["status", "--json"], ["doctor"])]
            said.append(_command(chaos, "dlq", "list"))
            letters = chaos.database.dead_letters.count_documents({"state": "dead"})
            assert letters > 0, f"nothing became a dead letter: nothing was tried; {said[1][-1500:]}"
            assert chaos.target.messages.count_documents({"text": re.compile(_CANARY)}) > 0, "no text was moved"
            topics = asyncio.run(_topics(chaos))
            assert any(_CANARY.encode() in value for _, value in topics["dlq"]), "dead letters have lost their bytes"
            places = dict(_places(chaos, "\n".join(said), topics))
            secrets = _secrets(chaos)
        places |= {"spans": b"".join(collector.bodies)}
        places |= {file.name: file.read_bytes() for file in _logs(root)}
    for what, blob in places.items():
        assert blob, f"{what} is empty: nothing was looked at"
        found = sorted({kind for kind, secret in secrets if secret.encode() in blob})
        assert not found, f"{what} holds {', '.join(found)}"
    figures = {
        "planted": len(secrets),
        "places": len(places),
        "bytes": sum(map(len, places.values())),
        "spans-bytes": len(places["spans"]),
        "dead": letters,
        "found": 0,
    }
    return Passed(NAME, seed, figures)


def _plant(folder: Path, seed: int, scale: Scale) -> Path:
    """Each message has a word and a number of its own, in ASCII, so that no encoding hides them."""
    write_folder(folder, chats=scale.chats, messages=scale.messages, seed=seed)
    file = folder / "messages.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["text"] = f"{row['text']} {_CANARY}{row['id']} +7{_PHONE}{row['id']:04} пароль"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return folder


def _secrets(chaos: Chaos) -> list[tuple[str, str]]:
    webhooks = Path(chaos.project.webhooks_file).read_text(encoding="utf-8").split()
    target = Path(chaos.project.rest_url_file).read_text(encoding="utf-8").strip()
    planted = [("a webhook's secret", hook.rstrip("/").rpartition("/")[2]) for hook in webhooks]
    planted.append(("the target's secret", target.rpartition("/")[2]))
    planted.append(("the path of the target", "/rest/1/slow"))
    return [*planted, ("a text", _CANARY), ("a phone number", _PHONE)]


def _break_the_portal(chaos: Chaos, seed: int) -> None:
    """Each fault a few times, at moments that the seed draws."""
    draw = Random(seed)
    for kind in _FAULTS:
        fault = {"kind": kind, "methods": "*", "count": 2, "skip": draw.randrange(3, 15)}
        answer = httpx.post(f"{chaos.control.url}/faults", json=fault)
        assert answer.status_code == httpx.codes.OK, answer.text


async def _write_garbage(chaos: Chaos) -> None:
    """Records that nobody can read: a body, a header and a key with what must not be told."""
    producer = AIOKafkaProducer(bootstrap_servers=chaos.project.kafka)
    await producer.start()
    try:
        topic, text = f"{chaos.project.name}.chat_messages", f"{_CANARY}0 +7{_PHONE}0000".encode()
        await producer.send_and_wait(topic, b"{ no json " + text, key=b"1")
        await producer.send_and_wait(topic, json.dumps({"text": text.decode()}).encode(), key=b"1")
    finally:
        await producer.stop()


def _command(chaos: Chaos, *words: str) -> str:
    ended = command(chaos, *words, code=None)
    return f"{' '.join(words)}\n{ended.stdout}{ended.stderr}"


Topics = dict[str, list[tuple[bytes, bytes]]]


async def _topics(chaos: Chaos) -> Topics:
    """Headers, and bodies, of every record of the topics that are not the data itself."""
    consumer = AIOKafkaConsumer(bootstrap_servers=chaos.project.kafka, auto_offset_reset="earliest")
    await consumer.start()
    found: Topics = {}
    try:
        for name in _TOPICS:
            topic = f"{chaos.project.name}.{name}"
            await consumer._client.add_topic(topic)
            partitions = [TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic) or ())]
            assert partitions, topic
            consumer.assign(partitions)
            ends, rows = await consumer.end_offsets(partitions), found.setdefault(name, [])
            while any([await consumer.position(one) < ends[one] for one in partitions]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    rows += [(repr(record.headers).encode(), record.value or b"") for record in records]
        return found
    finally:
        await consumer.stop()


def _places(chaos: Chaos, said: str, topics: Topics) -> Iterator[tuple[str, bytes]]:
    """Everything that people and machines are shown while it runs."""
    yield "commands", said.encode()
    for name, rows in topics.items():
        yield f"headers of {name}", b"".join(headers for headers, _ in rows)
        if name != "dlq":
            yield f"topic {name}", b"".join(value for _, value in rows)
    for file in chaos.folder.report.iterdir():
        yield file.name, file.read_bytes()
    for name in SERVICES:
        url = (chaos.folder.addresses / f"{name}.url").read_text(encoding="utf-8").strip()
        yield f"metrics of {name}", httpx.get(f"{url}/metrics/", timeout=10).content
        process = chaos.processes.find(name)
        assert process is not None
        yield f"command line of {name}", " ".join(process.cmdline()).encode()


def _logs(root: Path) -> Iterator[Path]:
    """Of everything but the portal, which is the customer's."""
    files = [*(root / "logs").glob("*.log"), *(root / "stack").glob("*.log*")]
    yield from (file for file in files if file.name != "portal.log" and file.stat().st_size > 0)
