"""What all replicas share through Redis, and this process' stand-ins for the time that Redis is away."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from redis.asyncio import Redis

from chatferry.common.clock import Clock
from chatferry.common.service import Context
from chatferry.common.telemetry.logs import get_logger
from chatferry.participants.adapters.layered_budget import LayeredBudget
from chatferry.participants.adapters.layered_counts import LayeredCounts
from chatferry.participants.adapters.local import LocalCounts, LocalWaiting
from chatferry.participants.adapters.local_work import Allowance, LeaseRules, LocalBudget, LocalSlots, LocalWanted
from chatferry.participants.adapters.redis_base import Keys, open_redis, probe_of
from chatferry.participants.adapters.redis_budget import RedisBudget
from chatferry.participants.adapters.redis_counts import RedisCounts
from chatferry.participants.adapters.redis_layers import LayeredSlots, LayeredWaiting, LayeredWanted, Switch
from chatferry.participants.adapters.redis_slots import Member, RedisSlots
from chatferry.participants.adapters.redis_waiting import RedisWaiting
from chatferry.participants.adapters.redis_wanted import RedisWanted, WantedRules
from chatferry.participants.domain.catalogue import newest_epochs, slot_of
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.plan import Debounce
from chatferry.participants.flow.parts import Chats
from chatferry.participants.settings import ParticipantsSettings

log = get_logger(__name__)
_SENTENCE = "Redis is away: counts are served as this replica knows them, and MAX is asked within a fixed share"
# Beside the time-out of the call itself.
_OVERHEAD_S = 0.5


@dataclass(frozen=True, slots=True)
class RedisClock:
    """Port Clock for whatever compares moments with reads: `now_ms`, of Redis, as far as it is known here.

    By the own clock of a replica that is a little ahead, what a pass reads first would have been read before it began.
    """

    now_ms: Callable[[], int]
    own: Clock

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms() / 1_000, UTC)

    def monotonic(self) -> float:
        return self.own.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self.own.sleep(seconds)


@dataclass(slots=True)
class Shared:
    """The ports, between `async with`."""

    counts: LayeredCounts
    budget: LayeredBudget
    slots: LayeredSlots
    wanted: LayeredWanted
    waiting: LayeredWaiting
    clock: Clock
    _redis: Redis
    _listening: RedisWaiting
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def stamping(self) -> RedisClock:
        """The clock that reads are stamped by."""
        return RedisClock(lambda: self.budget.now_ms, self.clock)

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self._redis.aclose)
        await self._stack.enter_async_context(self._listening)
        await self._stack.enter_async_context(self.counts)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)


def open_shared(
    settings: ParticipantsSettings, context: Context, *, replica: str, rng: random.Random, chats: Chats
) -> Shared:
    """Opens no connection yet."""
    clock, keys = context.clock, Keys(settings.project, settings.redis_prefix)
    redis = open_redis(settings.redis.get_secret_value())

    def told(away: bool) -> None:
        log.warning("outage" if away else "outage.over", part="redis")
        context.health.outage("redis", _SENTENCE if away else None)

    quick, steady = Switch(clock, probe_of(redis, keys)), Switch(clock, probe_of(redis, keys, 1.0), told)
    allowance = Allowance(settings.calls_per_second, settings.calls_per_hour)
    rules = LeaseRules(read_s=settings.max_answer_seconds + _OVERHEAD_S)
    reading: set[ChatId] = set()
    local_counts, local_waiting = LocalCounts(clock), LocalWaiting()
    listening = RedisWaiting(redis, keys, local_waiting)
    slots = RedisSlots(redis, keys, Member(replica, rules, lambda: {slot_of(chat) for chat in reading}), clock)
    wanted = RedisWanted(redis, keys, WantedRules(rules.read_s), clock, reading)
    return Shared(
        LayeredCounts(RedisCounts(redis, keys, settings.cache_ttl_s, rng), local_counts, quick),
        LayeredBudget(
            RedisBudget(redis, keys, allowance, clock, rng),
            LocalBudget(allowance.share(settings.replicas_max), clock, rng),
            steady,
        ),
        LayeredSlots(slots, LocalSlots(rules, clock, lambda: newest_epochs(chats.entries())), steady),
        LayeredWanted(wanted, LocalWanted(clock, reading, Debounce()), steady, quick),
        LayeredWaiting(listening, local_waiting, steady, quick),
        clock,
        redis,
        listening,
    )
