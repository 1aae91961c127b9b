"""What wakes on-call: MAX fails, or refuses; more changes than there are calls; a Redis that others fill. Each is there
within its `async with`, which gives a way to ask what it has done so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import count
from typing import Any

import httpx
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError
from tests.bench.alerts_stand import Stand

Done = Callable[[], Awaitable[str]]
Cause = Callable[[Stand], AbstractAsyncContextManager[Done]]
FAILING, REFUSED = 0.15, 0.8
STORM_A_MINUTE = 6.0
ROOM = 3 * 2**20
_FOREIGN, _FOREIGN_BYTES, _AT_ONCE, _EVERY_S = "foreign:", 4_096, 5, 0.1


def reads_fail(stand: Stand) -> AbstractAsyncContextManager[Done]:
    """MAX answers 500 to a share of the reads."""
    return _reads_end(stand, "server_error", "500", FAILING)


def reads_are_refused(stand: Stand) -> AbstractAsyncContextManager[Done]:
    """MAX answers most reads as it does once the bot has lost its rights in a chat."""
    return _reads_end(stand, "denied", "403", REFUSED)


@asynccontextmanager
async def _reads_end(stand: Stand, kind: str, status: str, share: float) -> AsyncIterator[Done]:
    async with _platform(stand) as platform:
        since_ms = (await _told(platform, "truth/counts"))["now_ms"]

        async def done() -> str:
            calls = await _told(platform, f"truth/calls?since_ms={since_ms}")
            ended, total = calls["by_status"].get(status, 0), calls["total"]
            return f"MAX answered {status} to {ended} of {total} calls ({ended / max(1, total):.1%})"

        fault = {"kind": kind, "paths": "/chats/{id}", "probability": share}
        (await platform.post("faults", json=fault)).raise_for_status()
        try:
            yield done
        finally:
            (await platform.delete("faults")).raise_for_status()


@asynccontextmanager
async def storm_of_changes(stand: Stand) -> AsyncIterator[Done]:
    """People come and go in every chat, more often than the calls allow to look."""
    loop = asyncio.get_running_loop()
    async with _platform(stand) as platform:
        before, begun = await _told(platform, "truth"), loop.time()

        async def done() -> str:
            seconds, now = loop.time() - begun, await _told(platform, "truth")
            changes = now["events"]["changes"]["total"] - before["events"]["changes"]["total"]
            calls = now["calls"]["total"] - before["calls"]["total"]
            return f"{changes / seconds:.1f} changes and {calls / seconds:.1f} calls a second"

        usual = before["settings"]["script"]["changes_per_minute"]
        await _changed(platform, STORM_A_MINUTE)
        try:
            yield done
        finally:
            await _changed(platform, usual)


@asynccontextmanager
async def redis_is_full(stand: Stand) -> AsyncIterator[Done]:
    """Somebody else writes to the same Redis, which evicts what was not used for longest."""
    async with Redis.from_url(stand.redis) as redis:
        used, evicted = (await redis.info("memory"))["used_memory"], await _evicted(redis)

        async def done() -> str:
            return f"Redis evicted {await _evicted(redis) - evicted:,} keys, the others' included"

        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await redis.config_set("maxmemory", used + ROOM)
        others = asyncio.create_task(_write(redis), name="others of that Redis")
        try:
            yield done
        finally:
            others.cancel()
            await asyncio.wait([others])
            await redis.config_set("maxmemory", 0)
            async for key in redis.scan_iter(match=f"{_FOREIGN}*", count=500):
                await redis.unlink(key)
        if not others.cancelled():
            others.result()


async def _write(redis: Redis) -> None:
    value = b"x" * _FOREIGN_BYTES
    for number in count():
        async with redis.pipeline(transaction=False) as pipeline:
            for one in range(_AT_ONCE):
                pipeline.set(f"{_FOREIGN}{number}:{one}", value)
            # At a moment at which nothing can be evicted Redis refuses; the others go on like everybody.
            with suppress(OutOfMemoryError):
                await pipeline.execute()
        await asyncio.sleep(_EVERY_S)


async def _evicted(redis: Redis) -> int:
    return int((await redis.info("stats"))["evicted_keys"])


def _platform(stand: Stand) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"{stand.control}/", timeout=30, trust_env=False)


async def _told(platform: httpx.AsyncClient, path: str) -> Any:
    return (await platform.get(path)).raise_for_status().json()


async def _changed(platform: httpx.AsyncClient, changes_per_minute: float) -> None:
    asked = {"script": {"changes_per_minute": changes_per_minute}}
    (await platform.patch("settings", json=asked)).raise_for_status()
