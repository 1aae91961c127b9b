"""The shared bucket on a Redis that dies, forgets, or comes back with what was true some time ago."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from tests.integration.redis_of_ours import RedisOfOurs

from chatferry.common.clock import SystemClock
from chatferry.common.errors import OutageError
from chatferry.common.portal.bucket import Limits, RedisRateBucket
from chatferry.common.portal.operating import Measured

pytestmark = pytest.mark.integration
HOST = "p.test"
KEY = f"chatferry:portal:{HOST}:bucket"
LIMITS = Limits(capacity=10, per_second=10.0, reserve=0)
DRAIN_S = LIMITS.capacity / LIMITS.per_second


class Clock(SystemClock):
    """The system's clock; it remembers how long somebody had to wait."""

    def __init__(self) -> None:
        self.slept = 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        await super().sleep(seconds)


@pytest.fixture
async def redis(server: RedisOfOurs) -> AsyncIterator[Redis]:
    client = Redis.from_url(server.url)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
async def impatient(server: RedisOfOurs) -> AsyncIterator[Redis]:
    client = Redis.from_url(server.url, socket_timeout=0.2, retry=Retry(NoBackoff(), 0))
    try:
        yield client
    finally:
        await client.aclose()


def bucket_of(redis: Redis, limits: Limits = LIMITS) -> RedisRateBucket:
    return RedisRateBucket(redis, HOST, limits, Clock(), random.Random(1))


async def seconds_for(bucket: RedisRateBucket, requests: int) -> float:
    began = time.monotonic()
    for _ in range(requests):
        await bucket.take()
    return time.monotonic() - began


async def come_back(server: RedisOfOurs, redis: Redis) -> None:
    """Start the server; afterwards no dead connection is left in the client."""
    server.start()
    await redis.connection_pool.disconnect()


async def drained(redis: Redis) -> RedisRateBucket:
    """A bucket that everybody knows to be empty."""
    bucket = bucket_of(redis)
    await bucket.take()
    await SystemClock().sleep(DRAIN_S + 0.1)
    assert await seconds_for(bucket, 1) < 0.05
    return bucket


async def test_a_bucket_that_nobody_knows_is_full(redis: Redis) -> None:
    assert await seconds_for(bucket_of(redis), 5) >= 0.45


async def test_a_bucket_that_drained_lets_a_burst_pass(redis: Redis) -> None:
    bucket = await drained(redis)
    assert await seconds_for(bucket, LIMITS.capacity - 2) < 0.2


async def test_a_bucket_that_was_deleted_is_full(redis: Redis) -> None:
    bucket = await drained(redis)
    await redis.delete(KEY)
    assert await seconds_for(bucket, 5) >= 0.45


async def test_a_redis_that_comes_back_with_an_old_snapshot_has_a_full_bucket(
    server: RedisOfOurs, redis: Redis
) -> None:
    bucket = await drained(redis)
    server.save()
    await seconds_for(bucket, LIMITS.capacity - 1)
    server.kill()
    with pytest.raises(OutageError):
        await bucket.take()
    await come_back(server, redis)
    assert float(await redis.hget(KEY, "level") or 99) < 3, "the snapshot is no old one"
    assert await seconds_for(bucket, 5) >= 0.45


async def test_a_redis_that_comes_back_full_is_empty_after_its_own_drain_time(
    server: RedisOfOurs, redis: Redis
) -> None:
    bucket = await drained(redis)
    server.save()
    server.kill()
    await come_back(server, redis)
    await bucket.take()
    await SystemClock().sleep(DRAIN_S + 0.1)
    assert await seconds_for(bucket, LIMITS.capacity - 2) < 0.2


async def test_a_redis_that_comes_back_with_nothing_has_a_full_bucket(server: RedisOfOurs, redis: Redis) -> None:
    bucket = await drained(redis)
    server.kill()
    await come_back(server, redis)
    assert await seconds_for(bucket, 5) >= 0.45


async def test_a_clock_that_was_set_back_makes_the_bucket_full_and_holds_nobody_up(redis: Redis) -> None:
    bucket = bucket_of(redis, Limits(capacity=10, per_second=10.0, reserve=0, max_rate=50.0))
    await drained(redis)
    # What Redis wrote before somebody set its clock back by an hour.
    later = time.time() + 3600
    await redis.hset(KEY, mapping={"at": f"{later:.6f}", "next": f"{later:.6f}"})
    seconds = await seconds_for(bucket, 5)
    assert 0.45 <= seconds < 3


async def test_the_portals_own_word_makes_the_bucket_full(redis: Redis) -> None:
    bucket = await drained(redis)
    await bucket.fill()
    assert await seconds_for(bucket, 5) >= 0.45


async def test_a_word_of_the_portal_holds_on_a_redis_that_has_just_come_back(server: RedisOfOurs, redis: Redis) -> None:
    bucket = await drained(redis)
    server.save()
    server.kill()
    await come_back(server, redis)
    await bucket.fill()
    await SystemClock().sleep(DRAIN_S + 0.1)
    assert await seconds_for(bucket, LIMITS.capacity - 2) < 0.2


async def known_meter(bucket: RedisRateBucket, cost: float) -> None:
    """A method of which every reader knows what a command costs."""
    first = await bucket.reserve(1, {"m": 1})
    assert first.granted == {"m": 1}
    await bucket.settle(1, first, {"m": Measured(cost, 600.0)})


async def test_reservations_made_at_once_do_not_exceed_the_operating_time_together(redis: Redis) -> None:
    limits = Limits(operating_s=100.0)
    await known_meter(bucket_of(redis, limits), cost=2.0)
    # As processes would: each with its own random numbers.
    buckets = [RedisRateBucket(redis, HOST, limits, Clock(), random.Random(n)) for n in range(20)]
    made = await asyncio.gather(*[bucket.reserve(1, {"m": 7, "other": 3}) for bucket in buckets])
    assert sum(one.granted["m"] for one in made) == 46, "95 usable seconds, 2 spent, 2 a command"
    assert sum(one.granted["other"] for one in made) == 1
    assert await bucket_of(redis, limits).reserve(2, {"m": 7}) != made[0], "another webhook has its own time"


async def test_a_redis_that_comes_back_with_an_old_snapshot_knows_no_operating_time(
    server: RedisOfOurs, redis: Redis
) -> None:
    bucket = bucket_of(redis, Limits(operating_s=100.0))
    await known_meter(bucket, cost=2.0)
    server.save()
    late = await bucket.reserve(1, {"m": 40})
    assert late.granted == {"m": 40}
    server.kill()
    await come_back(server, redis)
    # What was under way is answered; it says what is spent, and the next reservation goes on from there.
    assert (await bucket.reserve(1, {"m": 40})).granted == {"m": 1}
    await bucket.settle(1, late, {"m": Measured(82.0, 300.0, 2.0, 78.0)})
    assert 0 <= (await bucket.reserve(1, {"m": 40})).granted["m"] <= 6


async def test_what_could_not_be_settled_while_redis_was_away_is_settled_with_the_next_reservation(
    server: RedisOfOurs, impatient: Redis
) -> None:
    bucket = bucket_of(impatient, Limits(operating_s=100.0))
    await known_meter(bucket, cost=2.0)
    reserved = await bucket.reserve(1, {"m": 40})
    with server.frozen(), pytest.raises(OutageError):
        await bucket.settle(1, reserved, {"m": Measured(4.0, 300.0, 2.0, 2.0)})
    assert (await bucket.reserve(1, {"m": 45})).granted == {"m": 45}, "the forty are no longer under way: one was sent"


async def test_without_redis_nothing_is_reserved(server: RedisOfOurs, redis: Redis) -> None:
    bucket = bucket_of(redis)
    reserved = await bucket.reserve(1, {"m": 1})
    server.kill()
    with pytest.raises(OutageError):
        await bucket.reserve(1, {"m": 1})
    with pytest.raises(OutageError):
        await bucket.settle(1, reserved, {})
