"""The portal's rate bucket, shared by all processes and projects through Redis (design: data.md §8)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from chatferry.common.clock import Clock
from chatferry.common.errors import OutageError

# Redis' clock, not ours. A missing key means a full bucket: nobody knows what was spent before.
_TAKE = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local capacity, drain, interval = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local h = redis.call('HMGET', KEYS[1], 'level', 'at', 'next')
local level, next_at = capacity, tonumber(h[3] or '0')
if h[1] then level = math.max(0, tonumber(h[1]) - math.max(0, now - tonumber(h[2])) * drain) end
local wait = 0
if level + 1 > capacity then wait = (level + 1 - capacity) / drain end
if next_at > now and next_at - now > wait then wait = next_at - now end
if wait <= 0 then
  level = level + 1
  next_at = now + interval
end
redis.call('HSET', KEYS[1], 'level', tostring(level), 'at', string.format('%.6f', now))
redis.call('HSET', KEYS[1], 'next', string.format('%.6f', next_at))
redis.call('PEXPIRE', KEYS[1], 86400000)
return tostring(wait)
"""

_FILL = """
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], 'level', ARGV[1], 'at', string.format('%.6f', t[1] + t[2] / 1000000))
redis.call('PEXPIRE', KEYS[1], 86400000)
return 1
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """The portal's plan: a bucket of `capacity` requests that drains `per_second`. `max_rate`: gentler, requests/s.

    `reserve` of the capacity is never used: clocks differ, and others may call too.
    """

    capacity: int = 50
    per_second: float = 2.0
    reserve: int = 2
    max_rate: float | None = None
    operating_s: float = 480.0


class RateBucket(Protocol):
    """What a portal client needs before each request."""

    async def take(self) -> None:
        """Returns when one request may be sent. OutageError when nobody can say."""

    async def fill(self) -> None:
        """The portal said that it is full."""

    async def blocked(self, webhook: int, methods: Sequence[str]) -> dict[str, float]:
        """Methods that this webhook may not call now, with the seconds left."""

    async def block(self, webhook: int, method: str, seconds: float) -> None:
        """The portal blocked a method of a webhook (operating time)."""


class RedisRateBucket:
    """The only real one. Without Redis nothing is sent: there is no local substitute."""

    def __init__(self, redis: Redis, host: str, limits: Limits, clock: Clock, rng: random.Random) -> None:
        self._redis, self._limits, self._clock, self._rng = redis, limits, clock, rng
        self._prefix = f"chatferry:portal:{host}"
        self._take = redis.register_script(_TAKE)
        self._fill = redis.register_script(_FILL)

    def limited_to(self, max_rate: float | None) -> RedisRateBucket:
        """The same bucket for a run that asked to be gentler."""
        limits = Limits(
            self._limits.capacity, self._limits.per_second, self._limits.reserve, max_rate, self._limits.operating_s
        )
        return RedisRateBucket(self._redis, self._prefix.rpartition(":portal:")[2], limits, self._clock, self._rng)

    async def take(self) -> None:
        limits = self._limits
        interval = 1 / limits.max_rate if limits.max_rate else 0
        usable = max(1, limits.capacity - limits.reserve)
        while True:
            try:
                wait = float(await self._take(keys=[self._key], args=[usable, limits.per_second, interval]))
            except (RedisError, OSError) as away:
                raise _outage(away) from away
            if wait <= 0:
                return
            await self._clock.sleep(wait + self._rng.uniform(0, 0.01))

    async def fill(self) -> None:
        try:
            await self._fill(keys=[self._key], args=[self._limits.capacity])
        except (RedisError, OSError) as away:
            raise _outage(away) from away

    async def blocked(self, webhook: int, methods: Sequence[str]) -> dict[str, float]:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for method in methods:
                    pipe.pttl(self._blocked_key(webhook, method))
                left = await pipe.execute()
        except (RedisError, OSError) as away:
            raise _outage(away) from away
        return {method: ms / 1000 for method, ms in zip(methods, left, strict=True) if ms > 0}

    async def block(self, webhook: int, method: str, seconds: float) -> None:
        try:
            await self._redis.set(self._blocked_key(webhook, method), "1", px=max(1, int(seconds * 1000)))
        except (RedisError, OSError) as away:
            raise _outage(away) from away

    @property
    def _key(self) -> str:
        return f"{self._prefix}:bucket"

    def _blocked_key(self, webhook: int, method: str) -> str:
        return f"{self._prefix}:blocked:{webhook}:{method}"


def _outage(away: Exception) -> OutageError:
    what = "cannot be reached" if isinstance(away, RedisConnectionError | OSError) else "cannot serve now"
    return OutageError("redis", f"Redis {what}; no portal request is sent without its rate bucket")
