"""Slots, wishes and who waits: on Redis, and in this process while Redis is away; and whether it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from chatferry.common.clock import Clock
from chatferry.common.errors import OutageError
from chatferry.participants.adapters.local import LocalWaiting
from chatferry.participants.adapters.local_work import LocalSlots, LocalWanted
from chatferry.participants.adapters.redis_slots import RedisSlots
from chatferry.participants.adapters.redis_waiting import RedisWaiting
from chatferry.participants.adapters.redis_wanted import RedisWanted
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import NONE_AGAIN, Claim, Held, Of

ATTEMPT_EVERY_S = 0.5
_BATCH = 200
T = TypeVar("T")


@dataclass(slots=True)
class Switch:
    """Whether Redis is away. One for what readers wait for, and one for the work, which may wait longer: else a moment
    in which Redis is slow would halt the work. `probe`: returns when Redis does what is asked of it here. `told`: is
    called with each change."""

    clock: Clock
    probe: Callable[[], Awaitable[None]]
    told: Callable[[bool], None] = field(default=lambda _: None)
    away: bool = False
    back: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when Redis has come back; cleared by who has done what was to do then."""
    _next: float = float("-inf")

    async def attempt(self, call: Callable[[], Awaitable[T]]) -> T:
        """Raises OutageError, at once when Redis is away and was looked for just now."""
        looking = self.away
        if looking:
            now = self.clock.monotonic()
            if now < self._next:
                raise OutageError("redis", "Redis is away")
            self._next = now + ATTEMPT_EVERY_S
        try:
            if looking:
                # What is called may have an answer without asking Redis.
                await self.probe()
            answer = await call()
        except OutageError:
            self._fell()
            raise
        if looking:
            self._returned()
        return answer

    def _returned(self) -> None:
        if self.away:
            self.away = False
            self.back.set()
            self.told(False)

    def _fell(self) -> None:
        self._next = self.clock.monotonic() + ATTEMPT_EVERY_S
        if not self.away:
            self.away = True
            self.told(True)


class LayeredSlots:
    """Port Slots."""

    def __init__(self, redis: RedisSlots, local: LocalSlots, switch: Switch) -> None:
        self._redis, self._local, self._switch = redis, local, switch

    async def keep(self) -> Held:
        try:
            held = await self._switch.attempt(self._redis.keep)
        except OutageError:
            return await self._local.keep()
        self._local.learn(held)
        return held

    async def leave(self) -> None:
        await self._local.leave()
        # Leases that Redis does not hear of end by themselves.
        with suppress(OutageError):
            await self._switch.attempt(self._redis.leave)


class LayeredWanted:
    """Port Wanted. `quick`: the switch of what readers wait for."""

    def __init__(self, redis: RedisWanted, local: LocalWanted, switch: Switch, quick: Switch) -> None:
        self._redis, self._local, self._switch, self._quick = redis, local, switch, quick

    async def ask(self, chats: Collection[ChatId], urgency: Urgency) -> None:
        try:
            await self._quick.attempt(lambda: self._redis.ask(chats, urgency))
        except OutageError:
            await self._local.ask(chats, urgency)

    async def claim(
        self, held: Mapping[int, int], planned: Mapping[ChatId, Urgency], most: int, *, of: Of = Of.ALL
    ) -> list[Claim]:
        async def there() -> list[Claim]:
            await self._hand_over()
            return await self._redis.claim(held, planned, most, of=of)

        try:
            return await self._switch.attempt(there)
        except OutageError:
            return await self._local.claim(held, planned, most, of=of)

    async def _hand_over(self) -> None:
        """What is wanted here; whatever Redis does not take, for whichever reason, stays wanted here."""
        left = self._local.take_all()
        try:
            for urgency, due in left.items():
                while due:
                    chats = list(islice(due, _BATCH))
                    await self._redis.hand_over(chats, urgency)
                    for chat in chats:
                        del due[chat]
        finally:
            self._local.put_back(left)

    async def finish(
        self, claims: Collection[Claim], again: Mapping[ChatId, float] = NONE_AGAIN, took_s: float = 0.0
    ) -> None:
        here = [claim for claim in claims if self._local.claimed(claim)]
        there = [claim for claim in claims if not self._local.claimed(claim)]
        await self._local.finish(here, again, took_s)
        if not there:
            return
        try:
            await self._switch.attempt(lambda: self._redis.finish(there, again, took_s))
        except OutageError:
            await self._local.finish(there, again, took_s)

    async def take_over(self, held: Mapping[int, int]) -> None:
        # What is not taken over now, a claim will take over within seconds.
        with suppress(OutageError):
            await self._switch.attempt(lambda: self._redis.take_over(held))


class LayeredWaiting:
    """Port Waiting. `quick`: the switch of what readers wait for."""

    def __init__(self, redis: RedisWaiting, local: LocalWaiting, switch: Switch, quick: Switch) -> None:
        self._redis, self._local, self._switch, self._quick = redis, local, switch, quick

    async def wait(self, chats: Collection[ChatId], since_ms: int, seconds: float) -> set[ChatId]:
        deadline = asyncio.get_running_loop().time() + seconds
        with self._local.expecting(chats, since_ms) as waiter:
            with suppress(OutageError):
                await self._quick.attempt(lambda: self._redis.look_up(chats))
            return await waiter.until(deadline)

    async def tell(self, reads: Mapping[ChatId, int]) -> None:
        await self._local.tell(reads)
        with suppress(OutageError):
            await self._switch.attempt(lambda: self._redis.tell(reads))
