"""The portal's rate bucket, shared by all processes and projects through Redis (design: data.md §8)."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import orjson
from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError

from chatferry.common.adapters.redis import REDIS_AWAY
from chatferry.common.clock import Clock
from chatferry.common.entities.reading import Command
from chatferry.common.errors import OutageError
from chatferry.common.portal.operating import Measured, Meter

# Redis' clock, not ours. What a Redis that has started anew holds may be long past (an old snapshot), and nobody knows
# what was spent before a key that is missing, or by how much a clock went back: each of them reads as a full bucket.
_READ = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local full, usable, drain, interval = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local h = redis.call('HMGET', KEYS[1], 'level', 'at', 'next', 'run')
local level, next_at = full, 0
if h[1] and h[2] and h[4] == run and tonumber(h[2]) <= now then
  level = math.max(0, tonumber(h[1]) - (now - tonumber(h[2])) * drain)
  next_at = tonumber(h[3] or '0')
end
"""
_WRITE = """
redis.call('HSET', KEYS[1], 'level', tostring(level), 'at', string.format('%.6f', now))
redis.call('HSET', KEYS[1], 'next', string.format('%.6f', next_at), 'run', run)
redis.call('PEXPIRE', KEYS[1], 86400000)
"""
_TAKE = f"""{_READ}
local wait = 0
if level + 1 > usable then wait = (level + 1 - usable) / drain end
wait = math.max(wait, next_at - now)
if wait <= 0 then
  level = level + 1
  next_at = now + interval
end
{_WRITE}
return tostring(wait)
"""
_FILL = f"""{_READ}
level = full
{_WRITE}
return '0'
"""
# KEYS[1] becomes ARGV[2] if it still is ARGV[1] (empty: missing).
_SWAP = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', 86400000)
return 1
"""
T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class Reservation:
    """By method: how many commands may be sent, and after how many seconds the others may ask again."""

    ticket: str
    granted: Mapping[str, int]
    later: Mapping[str, float]

    def allowed(self, commands: Sequence[Command]) -> list[Command]:
        """The first ones of each method, as many as were granted; all of a method that was not asked for."""
        left, chosen = dict(self.granted), []
        for command in commands:
            if left.get(command.method) != 0:
                chosen.append(command)
                left[command.method] = left.get(command.method, 0) - 1
        return chosen


Settlement = tuple[Reservation, Mapping[str, Measured]]


def _settle(meters: dict[str, Meter], now: float, reservation: Reservation, told: Mapping[str, Measured]) -> None:
    for method, count in reservation.granted.items():
        if count:
            meters.setdefault(method, Meter()).settle(now, reservation.ticket, told.get(method))


class RateBucket(Protocol):
    """What a portal client needs before each request."""

    async def take(self) -> None:
        """Returns when one request may be sent. OutageError when nobody can say."""

    async def fill(self) -> None:
        """The portal said that it is full."""

    async def reserve(self, webhook: int, wanted: Mapping[str, int]) -> Reservation:
        """How many commands of each method this webhook may send now. OutageError when nobody can say."""

    async def settle(self, webhook: int, reservation: Reservation, told: Mapping[str, Measured]) -> None:
        """What was reserved has been answered; of methods that `told` lacks nothing is known. OutageError."""


class RedisRateBucket:
    """The only real one. Without Redis nothing is sent: there is no local substitute."""

    def __init__(self, redis: Redis, host: str, limits: Limits, clock: Clock, rng: random.Random) -> None:
        self._redis, self._limits, self._clock, self._rng = redis, limits, clock, rng
        self._prefix = f"chatferry:portal:{host}"
        self._take = redis.register_script(_TAKE)
        self._fill = redis.register_script(_FILL)
        self._swap = redis.register_script(_SWAP)
        self._unsettled: dict[int, list[Settlement]] = {}

    def limited_to(self, max_rate: float | None) -> RedisRateBucket:
        """The same bucket for a run that asked to be gentler."""
        limits = Limits(
            self._limits.capacity, self._limits.per_second, self._limits.reserve, max_rate, self._limits.operating_s
        )
        return RedisRateBucket(self._redis, self._prefix.rpartition(":portal:")[2], limits, self._clock, self._rng)

    async def take(self) -> None:
        while True:
            wait = await self._run(self._take)
            if wait <= 0:
                return
            await self._clock.sleep(wait + self._rng.uniform(0, 0.01))

    async def fill(self) -> None:
        await self._run(self._fill)

    async def _run(self, script: AsyncScript) -> float:
        limits = self._limits
        interval = 1 / limits.max_rate if limits.max_rate else 0
        usable = max(1, limits.capacity - limits.reserve)
        try:
            return float(await script(keys=[self._key], args=[limits.capacity, usable, limits.per_second, interval]))
        except REDIS_AWAY as away:
            raise _outage(away) from away

    async def reserve(self, webhook: int, wanted: Mapping[str, int]) -> Reservation:
        ticket, limit_s = secrets.token_hex(8), self._limits.operating_s
        if not wanted:
            return Reservation(ticket, {}, {})
        unsettled = self._unsettled.pop(webhook, [])

        def grant(meters: dict[str, Meter], now: float) -> Reservation:
            for settlement in unsettled:
                _settle(meters, now, *settlement)
            told = {
                method: meters.setdefault(method, Meter()).grant(now, ticket, wanted[method], limit_s)
                for method in wanted
            }
            return Reservation(
                ticket,
                {method: count for method, (count, _) in told.items()},
                {method: later for method, (_, later) in told.items()},
            )

        try:
            return await self._change(webhook, grant)
        except BaseException:
            self._unsettled.setdefault(webhook, []).extend(unsettled)
            raise

    async def settle(self, webhook: int, reservation: Reservation, told: Mapping[str, Measured]) -> None:
        if not any(reservation.granted.values()):
            return
        try:
            await self._change(webhook, lambda meters, now: _settle(meters, now, reservation, told))
        except BaseException:
            # With the next reservation: what is not under way any more holds nobody up.
            self._unsettled.setdefault(webhook, []).append((reservation, told))
            raise

    async def _change(self, webhook: int, change: Callable[[dict[str, Meter], float], T]) -> T:
        """Read, change, write if nobody wrote meanwhile, else once more. A Redis that started anew knows nothing."""
        key = f"{self._prefix}:operating:{webhook}"
        try:
            while True:
                async with self._redis.pipeline(transaction=False) as pipe:
                    pipe.time()
                    pipe.info("server")
                    pipe.get(key)
                    (seconds, micros), server, before = await pipe.execute()
                state = orjson.loads(before) if before else {}
                same = state.get("run") == server["run_id"]
                meters = {method: Meter.of(one) for method, one in state["meters"].items()} if same else {}
                result = change(meters, seconds + micros / 1_000_000)
                after = {
                    "run": server["run_id"],
                    "meters": {method: meter.stored() for method, meter in meters.items()},
                }
                if await self._swap(keys=[key], args=[before or b"", orjson.dumps(after)]):
                    return result
        except REDIS_AWAY as away:
            raise _outage(away) from away

    @property
    def _key(self) -> str:
        return f"{self._prefix}:bucket"


def _outage(away: Exception) -> OutageError:
    gone = isinstance(away, RedisConnectionError | OSError | RuntimeError)
    what = "cannot be reached" if gone else "cannot serve now"
    return OutageError("redis", f"Redis {what}; no portal request is sent without its rate bucket")
