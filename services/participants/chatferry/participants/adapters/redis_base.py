"""What every adapter on Redis needs: a client with short time-outs, the names of the keys, and one kind of error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from chatferry.common.adapters.redis import REDIS_AWAY
from chatferry.common.errors import OutageError
from chatferry.participants.domain.counts import ChatId

QUICK_S = 0.05
"""Longest wait for Redis where a reader waits too."""
ANSWER_S = 1.0
"""The same where nobody does."""
NOW_LUA = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""
"""Milliseconds on Redis' clock, for scripts."""
_PROBE = """
redis.call('INFO', 'server')
redis.call('SET', KEYS[1], '1', 'PX', 1000)
"""


@dataclass(frozen=True, slots=True)
class Keys:
    """The project's keys. `prefix`: of the counts alone, whose keys the requirement names."""

    project: str
    prefix: str = ""

    def value(self, chat: ChatId) -> str:
        """`{"count", "updated_at"}`, for anybody who reads Redis."""
        return f"{self.prefix}chat_participants:{chat}"

    def own(self, name: str) -> str:
        """Everything else."""
        return f"{self.project}:participants:{name}"


def open_redis(url: str) -> Redis:
    """A client that tries everything once: whoever calls it knows what to do without Redis."""
    # Who finds all connections in use waits for one: a crowd that opened its own would take longer.
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=ANSWER_S,
        socket_timeout=ANSWER_S,
        socket_connect_timeout=ANSWER_S,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


@asynccontextmanager
async def redis_outage(seconds: float = ANSWER_S) -> AsyncIterator[None]:
    """Turns whatever goes wrong with Redis into an OutageError, and an answer that takes longer than that too."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except REDIS_AWAY as away:
        # TimeoutError is an OSError.
        gone = isinstance(away, RedisConnectionError | RedisTimeoutError | OSError | RuntimeError)
        sentence = "Redis cannot be reached" if gone else f"Redis cannot serve now ({type(away).__name__})"
        raise OutageError("redis", sentence) from away


class Turns:
    """One after the other; and where one of them finds Redis away, those who are in line by then do too: else each
    would find it out for itself, a time-out after the one before."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._outages = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises OutageError as well when one who came before has raised it."""
        before = self._outages
        async with self._lock:
            if self._outages > before:
                raise OutageError("redis", "Redis cannot be reached")
            try:
                yield
            except OutageError:
                self._outages += 1
                raise


def probe_of(redis: Redis, keys: Keys, seconds: float = QUICK_S) -> Callable[[], Awaitable[None]]:
    """Returns when Redis has done what our scripts do, else raises OutageError: a replica, or one that may not write
    because its own replicas are missing, answers a PING all the same."""
    script = redis.register_script(_PROBE)

    async def probe() -> None:
        async with redis_outage(seconds):
            await script(keys=[keys.own("probe")])

    return probe


async def end(task: asyncio.Task[None]) -> None:
    """Cancel it, and wait until it has ended. Raises what it has raised."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
