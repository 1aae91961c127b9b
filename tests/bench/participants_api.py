"""`/chats/all` under load: pages of 50 out of 10,000 cached chats, a real Redis and MongoDB, the service a process.

`python -m tests.bench.participants_api [--rate N] [--seconds N]`. The generator (`generator.py`) is a process of its
own; both processes' CPU seconds are shown apart.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import typer

from chatferry.common.adapters.mongo import open_client, open_database
from chatferry.participants.adapters.mongo_catalogue import MongoCatalogue
from chatferry.participants.adapters.mongo_entries import CHATS as CHATS_OF_MONGO
from chatferry.participants.adapters.mongo_entries import prepare
from chatferry.participants.adapters.redis_base import Keys, open_redis
from chatferry.participants.adapters.redis_counts import RedisCounts
from chatferry.participants.domain.counts import ChatId, Count, Mark, Stamp
from chatferry.participants.ports import SourceChat
from chatferry.participants.settings import ParticipantsSettings
from chatferry.stack import Addresses, LocalStack

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local" / "bench"
CHATS, PAGE = 10_000, 50
KEY = "a-key-of-the-bench"
FLOOR_MS, AIM_MS = 50, 20
_AT_ONCE = 64
_WORDS = ("Отдел", "Проект", "Заявки", "Support", "Sales", "Ёлка", "Склад", "Release", "Договор", "Ночная смена")


def measured(rate: int, seconds: float) -> dict[str, Any]:
    """Runs it all; latencies in ms from the moment at which a request was due."""
    stack = LocalStack(LOCAL, announce=lambda _: None)
    addresses = stack.up()
    try:
        environment = _environment(addresses)
        asyncio.run(_fill(addresses))
        with _service(environment) as (url, service):
            before = _cpu(service)
            found = _generated(url, rate, seconds)
            found["service_cpu"] = (_cpu(service) - before) / found["took_s"]
            found["service_mib"] = service.memory_info().rss / 2**20
        return found
    finally:
        stack.down()
        for part in ("kafka", "mongodb", "redis"):
            shutil.rmtree(LOCAL / "stack" / part, ignore_errors=True)


def _environment(addresses: Addresses) -> dict[str, str]:
    return {
        **os.environ,
        "CHATFERRY_PROJECT": "bench",
        "CHATFERRY_KAFKA": addresses.kafka,
        "CHATFERRY_MONGODB": addresses.mongodb,
        "CHATFERRY_REDIS": addresses.redis,
        "CHATFERRY_API_KEYS": KEY,
        "CHATFERRY_API_RATE_PER_SECOND": "100000",
        "CHATFERRY_MAX_EVENTS": "off",
        "CHATFERRY_MAX_TOKEN": "no-token",
        "CHATFERRY_ADDRESS_FILE": str(LOCAL / "participants.address"),
    }


async def _fill(addresses: Addresses) -> None:
    """All chats linked, and all counts in the cache."""
    settings = ParticipantsSettings.model_construct(project="bench")
    client, redis = open_client(addresses.mongodb), open_redis(addresses.redis)
    try:
        await client.drop_database(settings.catalogue)
        database = open_database(client, settings.catalogue)
        await prepare(database)
        rng, chats = random.Random(7), range(1, CHATS + 1)
        made = [
            SourceChat(ChatId(chat), 1, f"{rng.choice(_WORDS)} {chat}", rng.randrange(2**40), rng.randrange(2, 900))
            for chat in chats
        ]
        await MongoCatalogue(database).note_sources(made)
        await MongoCatalogue(database).note_activity({one.id: rng.randrange(2**40) for one in made})
        # One by one, as MaxSide.link does it, would take longer than the bench.
        await database[CHATS_OF_MONGO].update_many({}, [{"$set": {"max_chat": {"$multiply": ["$_id", -1]}}}])
        counts = RedisCounts(redis, Keys("bench"), 7 * 86_400, rng)
        now_ms = int(time.time() * 1_000)
        for begin in range(0, CHATS, _AT_ONCE):
            some = [ChatId(chat) for chat in chats[begin : begin + _AT_ONCE]]
            stamp = Stamp(1, now_ms)
            await asyncio.gather(*(counts.write(one, Count(2 + one % 500, Mark.CONFIRMED, stamp)) for one in some))
    finally:
        await redis.aclose()
        client.close()


@contextmanager
def _service(environment: dict[str, str]) -> Iterator[tuple[str, psutil.Process]]:
    address = LOCAL / "participants.address"
    address.unlink(missing_ok=True)
    log = LOCAL / "participants.log"
    with log.open("wb") as lines:
        command = [sys.executable, "-m", "tests.bench.participants_service"]
        process = subprocess.Popen(command, env=environment, stdout=lines, stderr=lines, cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while not _ready(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the service did not start: {log.read_text(encoding='utf-8')[-500:]}")
            time.sleep(0.1)
        yield address.read_text(encoding="utf-8").strip(), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _ready(address: Path) -> bool:
    """Whether it has read all chats."""
    if not address.exists():
        return False
    try:
        url = address.read_text(encoding="utf-8").strip()
        answer = httpx.get(f"{url}/chats/all", headers={"x-api-key": KEY})
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["total"] == CHATS


def _generated(url: str, rate: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.generator", url, KEY, str(rate), str(seconds), str(PAGE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main(rate: int = 250, seconds: float = 60) -> None:
    """Measure and print; exit code 1 when the floor is missed."""
    found = measured(rate, seconds)
    print(json.dumps(found, indent=1))
    met = found["p99_ms"] <= FLOOR_MS and not found["errors"] and found["answered"] == found["due"]
    print(f"p99 {found['p99_ms']:.1f} ms at {rate}/s: {'met' if met else 'missed'} (at most {FLOOR_MS}, aim {AIM_MS})")
    if not met:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
