"""The ports on Redis and in the process, for the tests that hold them to the same contract."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis

from chatferry.common.clock import Clock, SystemClock
from chatferry.participants.adapters.local import LocalCounts, LocalWaiting
from chatferry.participants.adapters.local_work import Allowance, LeaseRules, LocalBudget, LocalSlots, LocalWanted
from chatferry.participants.adapters.redis_base import Keys, open_redis, probe_of
from chatferry.participants.adapters.redis_budget import RedisBudget
from chatferry.participants.adapters.redis_counts import RedisCounts
from chatferry.participants.adapters.redis_layers import Switch
from chatferry.participants.adapters.redis_slots import Member, RedisSlots
from chatferry.participants.adapters.redis_waiting import RedisWaiting
from chatferry.participants.adapters.redis_wanted import RedisWanted, WantedRules
from chatferry.participants.domain.catalogue import slot_of
from chatferry.participants.domain.counts import ChatId, MaxChatId
from chatferry.participants.domain.plan import Debounce
from chatferry.participants.domain.updates import Effect, Update

KINDS = ("local", "redis", "layered")
RULES = LeaseRules(read_s=0.3, lease_s=2.0, grace_s=0.0)
DEBOUNCE = Debounce(wait_ms=150)


def joined(at_ms: int, user: int = 1) -> Update:
    return Update("user_added", Effect.MOVES, at_ms, MaxChatId(-5), user)


def left(at_ms: int, user: int = 1) -> Update:
    return Update("user_removed", Effect.MOVES, at_ms, MaxChatId(-5), user)


@dataclass
class Replica:
    """What one process has: all its ports on Redis, and their stand-ins."""

    redis: Redis
    keys: Keys
    name: str
    ttl_s: float = 3_600.0
    allowance: Allowance = field(default_factory=Allowance)
    rules: LeaseRules = RULES
    replicas: int = 3
    quick_s: float = 1.0
    """Long: a machine that is busy with tests is not one on which Redis is away."""
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        rng, here = random.Random(self.name), LocalWaiting()
        self.reading: set[ChatId] = set()
        self.quick = Switch(self.clock, probe_of(self.redis, self.keys))
        self.steady = Switch(self.clock, probe_of(self.redis, self.keys, 0.5))
        self.counts = RedisCounts(self.redis, self.keys, self.ttl_s, rng, self.quick_s)
        self.budget = RedisBudget(self.redis, self.keys, self.allowance, self.clock, rng)
        self.slots = RedisSlots(self.redis, self.keys, Member(self.name, self.rules, self.busy), self.clock)
        rules = WantedRules(self.rules.read_s, DEBOUNCE, self.quick_s)
        self.wanted = RedisWanted(self.redis, self.keys, rules, self.clock, self.reading)
        self.here = here
        self.waiting = RedisWaiting(self.redis, self.keys, here, look_s=5.0)
        self.local_counts = LocalCounts(self.clock)
        self.local_budget = LocalBudget(self.allowance.share(self.replicas), self.clock, rng)
        self.local_slots = LocalSlots(self.rules, self.clock)
        self.local_wanted = LocalWanted(self.clock, self.reading, DEBOUNCE)

    def busy(self) -> set[int]:
        return {slot_of(chat) for chat in self.reading}


@asynccontextmanager
async def replicas_of(
    url: str, *, many: int = 1, ttl_s: float = 3_600.0, allowance: Allowance | None = None, rules: LeaseRules = RULES
) -> AsyncIterator[list[Replica]]:
    """Several replicas of one project that nobody else has; its keys are deleted at the end."""
    project = f"p{uuid.uuid4().hex[:8]}"
    clients = [open_redis(url) for _ in range(many)]
    try:
        yield [
            Replica(client, Keys(project, f"{project}:"), f"r{n}", ttl_s, allowance or Allowance(), rules, many)
            for n, client in enumerate(clients)
        ]
    finally:
        await clear(url, project)
        for client in clients:
            await client.aclose()


async def clear(url: str, project: str) -> None:
    """Nothing of a project is left."""
    cleaner = Redis.from_url(url)
    try:
        async for key in cleaner.scan_iter(f"{project}:*", count=1_000):
            await cleaner.delete(key)
    finally:
        await cleaner.aclose()
