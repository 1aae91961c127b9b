"""`/chats/all` under load: pages of 50 out of 10,000 cached chats, then pages of 10 that are read anew at MAX. Kafka,
MongoDB and Redis are real, MAX is the simulated platform, the service a process.

`python -m tests.bench.participants_api [--rate N] [--seconds N]`. The generator (`generator.py`) is a process of its
own; both processes' CPU seconds are shown apart.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import typer

from chatferry.common.adapters.mongo import UpdateOne, open_client, open_database
from chatferry.operator.demo import bootstrap
from chatferry.participants.adapters.mongo_catalogue import MongoCatalogue
from chatferry.participants.adapters.mongo_entries import CHATS as CHATS_OF_MONGO
from chatferry.participants.adapters.mongo_entries import kept_count, prepare
from chatferry.participants.adapters.redis_base import Keys, open_redis
from chatferry.participants.adapters.redis_counts import RedisCounts
from chatferry.participants.domain.counts import ChatId, Count, Mark, Stamp
from chatferry.participants.ports import SourceChat
from chatferry.participants.settings import ParticipantsSettings
from chatferry.stack import Addresses, LocalStack

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local" / "bench"
CHATS, PAGE, FRESH_PAGE = 10_000, 50, 10
PROJECT, KEY = "bench", "a-key-of-the-bench"
FLOOR_MS, AIM_MS = 50, 20
FRESH_FLOOR_MS, FRESH_AIM_MS = 2_000, 500
_AT_ONCE = 64
_WORDS = ("Отдел", "Проект", "Заявки", "Support", "Sales", "Ёлка", "Склад", "Release", "Договор", "Ночная смена")


def measured(rate: int, seconds: float) -> dict[str, Any]:
    """Runs it all; latencies in ms from the moment at which a request was due."""
    stack = LocalStack(LOCAL, announce=lambda _: None)
    addresses = stack.up()
    try:
        asyncio.run(bootstrap(addresses, PROJECT))
        with _platform() as platform:
            counts = httpx.get(f"{platform['control']}/truth/counts", timeout=30).raise_for_status().json()["counts"]
            asyncio.run(_fill(addresses, {int(chat): int(count) for chat, count in counts.items()}))
            with _service(_environment(addresses, platform)) as (url, service):
                before = _cpu(service)
                found = _generated(url, rate, seconds)
                found["service_cpu"] = (_cpu(service) - before) / found["took_s"]
                found["service_mib"] = service.memory_info().rss / 2**20
                found["fresh"] = asyncio.run(_refreshed(url, seconds))
        return found
    finally:
        stack.down()
        for part in ("kafka", "mongodb", "redis"):
            shutil.rmtree(LOCAL / "stack" / part, ignore_errors=True)


def _environment(addresses: Addresses, platform: dict[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "CHATFERRY_PROJECT": PROJECT,
        "CHATFERRY_KAFKA": addresses.kafka,
        "CHATFERRY_MONGODB": addresses.mongodb,
        "CHATFERRY_REDIS": addresses.redis,
        "CHATFERRY_API_KEYS": KEY,
        "CHATFERRY_API_RATE_PER_SECOND": "100000",
        "CHATFERRY_MAX_URL": platform["http"],
        "CHATFERRY_MAX_TOKEN_FILE": platform["token_file"],
        # What is cached stays so for as long as this takes: nothing but the most active chats is read by itself.
        "CHATFERRY_MAX_EVENTS": "off",
        "PARTICIPANTS_UNTRUSTED_INTERVAL": "86400",
        "CHATFERRY_ADDRESS_FILE": str(LOCAL / "participants.address"),
    }


@contextmanager
def _platform() -> Iterator[dict[str, str]]:
    """As many chats of MAX as we have, each answered within 20 to 50 ms."""
    command = [sys.executable, "-m", "chatferry.simulators.max", "--paused", "--chats", str(CHATS), "--dialogs", "0"]
    command += ["--token-file", str(LOCAL / "max.token"), "--set", "api.latency_s=0.02", "--set", "api.jitter_s=0.03"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        told: dict[str, str] = json.loads(process.stdout.readline())
        yield told
    finally:
        process.terminate()
        process.wait(30)


async def _fill(addresses: Addresses, truth: Mapping[int, int]) -> None:
    """All chats linked, the first to the first of MAX's, and all counts in the cache."""
    settings = ParticipantsSettings.model_construct(project=PROJECT)
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
        stamp = Stamp(1, int(time.time() * 1_000))
        known = {
            chat: (max_chat, Count(count, Mark.CONFIRMED, stamp))
            for chat, (max_chat, count) in zip(chats, sorted(truth.items()), strict=True)
        }
        # One by one, as MaxSide does it, would take longer than the bench.
        await database[CHATS_OF_MONGO].bulk_write(
            [
                UpdateOne({"_id": chat}, {"$set": {"max_chat": max_chat, "count": kept_count(count)}})
                for chat, (max_chat, count) in known.items()
            ],
            ordered=False,
        )
        counts = RedisCounts(redis, Keys(PROJECT), 7 * 86_400, rng)
        for begin in range(0, CHATS, _AT_ONCE):
            some = chats[begin : begin + _AT_ONCE]
            await asyncio.gather(*(counts.write(ChatId(one), known[one][1]) for one in some))
    finally:
        await redis.aclose()
        client.close()


@contextmanager
def _service(environment: dict[str, str]) -> Iterator[tuple[str, psutil.Process]]:
    address = LOCAL / "participants.address"
    address.unlink(missing_ok=True)
    log = LOCAL / "participants.log"
    with log.open("wb") as lines:
        command = [sys.executable, "-m", "chatferry.participants"]
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


async def _refreshed(url: str, seconds: float) -> dict[str, Any]:
    """One page a second, whose ten counts are read anew at MAX before it is answered."""
    latencies: list[float] = []
    stale = 0
    parameters = {"fresh_participants": "true", "limit": str(FRESH_PAGE), "sort": "participants"}
    async with httpx.AsyncClient(base_url=url, headers={"x-api-key": KEY}, timeout=30) as http:
        cursor: dict[str, str] = {}
        for _ in range(int(seconds)):
            asked_at, begun = datetime.now(UTC), time.perf_counter()
            answer = (await http.get("/chats/all", params={**parameters, **cursor})).raise_for_status().json()
            latencies.append((time.perf_counter() - begun) * 1_000)
            moments = [datetime.fromisoformat(chat["participants_count_updated_at"]) for chat in answer["chats"]]
            stale += sum(moment < asked_at for moment in moments)
            cursor = {"cursor": answer["next_cursor"]}
            await asyncio.sleep(max(0.0, 1 - (time.perf_counter() - begun)))
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return {
        "asked": len(latencies),
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
        "most_ms": max(latencies),
        "not_new": stale,
    }


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main(rate: int = 250, seconds: float = 60) -> None:
    """Measure and print; exit code 1 when a floor is missed."""
    found = measured(rate, seconds)
    print(json.dumps(found, indent=1))
    fresh = found["fresh"]
    met = found["p99_ms"] <= FLOOR_MS and not found["errors"] and found["answered"] == found["due"]
    fresh_met = fresh["p99_ms"] <= FRESH_FLOOR_MS and not fresh["not_new"]
    print(f"p99 {found['p99_ms']:.1f} ms at {rate}/s: {'met' if met else 'missed'} (at most {FLOOR_MS}, aim {AIM_MS})")
    print(
        f"p99 {fresh['p99_ms']:.0f} ms of {fresh['asked']} pages of {FRESH_PAGE} read anew, {fresh['not_new']} counts"
        f" not new: {'met' if fresh_met else 'missed'} (at most {FRESH_FLOOR_MS}, aim {FRESH_AIM_MS})"
    )
    if not (met and fresh_met):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
