"""The budget on Redis, and in this process while Redis is away."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from chatferry.common.errors import OutageError
from chatferry.participants.adapters.local_work import LocalBudget
from chatferry.participants.adapters.redis_budget import RedisBudget
from chatferry.participants.adapters.redis_layers import Switch
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import Grant

_WINDOW_S = 1.1
_SETTLED_S = 2.0


class LayeredBudget:
    """Port Budget. Where one window follows another, calls of both fall into the same second: nothing is granted here
    before the last that Redis granted are over, and for a while after its return what either refuses is not made, for
    other replicas may not have noticed yet. Of the hour each knows what the other has granted to this process."""

    def __init__(self, redis: RedisBudget, local: LocalBudget, switch: Switch) -> None:
        self._redis, self._local, self._switch = redis, local, switch
        # Calls that Redis has not been told of, by the minute of its clock.
        self._untold: dict[int, int] = {}
        # Of the budget alone: Redis may do all else, and refuse this.
        self._fell_at: float | None = None
        self._back_at = float("-inf")

    async def take(self, urgency: Urgency) -> Grant:
        began, own = self._switch.clock.monotonic(), None
        if self._fell_at is None and began < self._back_at + _SETTLED_S:
            own = await self._local.take(urgency)
            if own.wait_s > 0:
                return own
        try:
            grant = await self._switch.attempt(lambda: self._granted(urgency))
        except OutageError:
            if own is not None:
                self._local.give_back()
            return await self._here(urgency)
        if self._fell_at is not None:
            self._fell_at, self._back_at = None, self._switch.clock.monotonic()
        if grant.wait_s <= 0:
            # Where leave is refused the answer may be an earlier one's, and so may its time.
            self._local.set_clock(grant.now_ms)
        if own is not None and grant.wait_s > 0:
            self._local.give_back()
        if own is None and self._back_at >= began:
            # A call that has found Redis back is counted there alone.
            return Grant(grant.now_ms, max(grant.wait_s, 0.01))
        if own is None and grant.wait_s <= 0:
            self._local.note_call()
        return grant

    async def _granted(self, urgency: Urgency) -> Grant:
        if self._untold:
            untold, self._untold = self._untold, {}
            try:
                await self._redis.spent(untold)
            except OutageError:
                # Redis may have heard of it all the same: rather twice than never.
                self._note(untold)
                raise
        return await self._redis.take(urgency)

    async def _here(self, urgency: Urgency) -> Grant:
        now = self._switch.clock.monotonic()
        if self._fell_at is None:
            self._fell_at = now
        left_s = self._fell_at + _WINDOW_S - now
        if left_s > 0:
            return Grant(self._local.now_ms, left_s)
        grant = await self._local.take(urgency)
        if grant.wait_s <= 0:
            minute = grant.now_ms // 60_000
            self._untold = {at: calls for at, calls in self._untold.items() if at >= minute - 60}
            self._note({minute: 1})
        return grant

    def _note(self, calls: Mapping[int, int]) -> None:
        for minute, many in calls.items():
            self._untold[minute] = self._untold.get(minute, 0) + many

    @property
    def now_ms(self) -> int:
        """Redis' clock, as far as it is known here."""
        return self._local.now_ms

    async def refused(self, retry_after_s: float | None) -> None:
        await self._local.refused(retry_after_s)
        with suppress(OutageError):
            await self._switch.attempt(lambda: self._redis.refused(retry_after_s))
