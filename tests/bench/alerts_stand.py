"""One service with a MAX platform and a Prometheus of its own, each a process under one supervisor."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
from tests.bench.alerts_prometheus import prometheus

from chatferry.operator.counting.launching import Platform, platform_of
from chatferry.operator.counting.options import Options, Pace
from chatferry.operator.counting.readers import open_api
from chatferry.operator.demo import bootstrap
from chatferry.operator.folder import Folder
from chatferry.operator.launch import free_port, not_ready, supervise, wait_until
from chatferry.operator.supervisor import Service
from chatferry.stack import Addresses

_NAME = "participants"
_CHANGED_A_MINUTE = 0.01
_PAGE, _PAGE_EVERY_S = 50, 0.25


@dataclass(frozen=True, slots=True)
class Stand:
    """URLs of its parts. Prometheus begins when the file `begin` is there."""

    folder: Folder
    service: str
    key: str
    control: str
    prometheus: str
    redis: str
    begin: Path


@dataclass(slots=True)
class Readers:
    """How many pages were asked for, and how many of them did not come."""

    asked: int = 0
    failed: int = 0


def launch(
    folder: Folder, project: str, addresses: Addresses, chats: int, settings: Mapping[str, str], lock: IO[str]
) -> Stand:
    """The platform and the service, ready. Raises FatalError with the reason; then call `stop`."""
    for old in folder.addresses.iterdir():
        old.unlink()
    begin = folder.root / "begin"
    begin.unlink(missing_ok=True)
    asyncio.run(bootstrap(addresses, project))
    pace = Pace(chats * _CHANGED_A_MINUTE / 60, 0, 0, 0, 0.0)
    platform = platform_of(folder, Options(chats=chats, replicas=1), pace)
    key, port, watched = secrets.token_urlsafe(24), free_port(), free_port()
    environment = _environment(folder, project, addresses, platform, port)
    environment |= {"CHATFERRY_API_KEYS_FILE": str(folder.secret("participants.key", key)), **settings}
    argv = (sys.executable, "-m", "chatferry.participants")
    service = Service(_NAME, argv, environment, str(folder.logs / f"{_NAME}.log"))
    watch = prometheus(folder, watched, f"127.0.0.1:{port}", begin)
    supervisor = supervise(folder, None, [platform.service, service, watch], lock)
    wait_until(folder, supervisor, _NAME, lambda: not_ready(folder, _NAME))
    url, redis = f"http://127.0.0.1:{port}", addresses.redis
    return Stand(folder, url, key, platform.control, f"http://127.0.0.1:{watched}", redis, begin)


def _environment(folder: Folder, project: str, addresses: Addresses, platform: Platform, port: int) -> dict[str, str]:
    return {
        "CHATFERRY_PROJECT": project,
        "CHATFERRY_KAFKA": addresses.kafka,
        "CHATFERRY_MONGODB": addresses.mongodb,
        "CHATFERRY_REDIS": addresses.redis,
        "CHATFERRY_REDIS_PREFIX": f"{project}:",
        "CHATFERRY_HTTP_PORT": str(port),
        "CHATFERRY_ADDRESS_FILE": str(folder.addresses / f"{_NAME}.url"),
        "CHATFERRY_MAX_URL": platform.url,
        "CHATFERRY_MAX_TOKEN_FILE": str(platform.token_file),
        "CHATFERRY_MAX_EVENTS": "webhook",
        "CHATFERRY_MAX_WEBHOOK_URL": f"http://127.0.0.1:{port}",
        "CHATFERRY_MAX_WEBHOOK_SECRET_FILE": str(folder.secret("max.webhook", secrets.token_urlsafe(24))),
        "PARTICIPANTS_REPLICAS_MAX": "1",
    }


async def shown(stand: Stand, metric: str) -> float | None:
    """What the service says of a metric without labels: nobody is served a count for it."""
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        text = (await client.get(f"{stand.service}/metrics/")).raise_for_status().text
    values = [line.split(" ")[1] for line in text.splitlines() if line.startswith(f"{metric} ")]
    return float(values[0]) if values else None


@asynccontextmanager
async def reading(stand: Stand) -> AsyncIterator[Readers]:
    """Meanwhile somebody asks for all chats, page after page."""
    readers = Readers()
    task = asyncio.create_task(_read(stand, readers), name="readers")
    try:
        yield readers
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def _read(stand: Stand, readers: Readers) -> None:
    loop, cursor = asyncio.get_running_loop(), dict[str, str]()
    due = loop.time()
    async with open_api([stand.service], stand.key) as api:
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            due += _PAGE_EVERY_S
            readers.asked += 1
            try:
                page = await api.page(stand.service, sort="title", limit=_PAGE, **cursor)
                cursor = {} if page["next_cursor"] is None else {"cursor": page["next_cursor"]}
            except httpx.HTTPError:
                readers.failed += 1
                cursor = {}
