"""What is wanted here goes to Redis once it is back, and what Redis does not take is not lost."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import pytest
from tests.unit.participants.readers import HandClock

from chatferry.common.errors import OutageError
from chatferry.participants.adapters.layered_budget import LayeredBudget
from chatferry.participants.adapters.local_work import Allowance, LocalBudget, LocalWanted
from chatferry.participants.adapters.redis_budget import RedisBudget
from chatferry.participants.adapters.redis_layers import LayeredWanted, Switch
from chatferry.participants.adapters.redis_wanted import RedisWanted
from chatferry.participants.domain.catalogue import SLOTS
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.plan import Debounce, Urgency
from chatferry.participants.ports import Claim, Grant, Of
from chatferry.participants.shared import RedisClock

HELD = dict.fromkeys(range(SLOTS), 3)


@dataclass
class Taking:
    """Takes wishes until it fails: `takes` times in all."""

    takes: int
    taken: list[tuple[Urgency, list[ChatId]]] = field(default_factory=list)

    async def hand_over(self, chats: Collection[ChatId], urgency: Urgency) -> None:
        if len(self.taken) == self.takes:
            raise OutageError("redis", "away again")
        self.taken.append((urgency, list(chats)))

    async def claim(
        self, held: Mapping[int, int], planned: Mapping[ChatId, Urgency], most: int, *, of: Of = Of.ALL
    ) -> list[Claim]:
        del held, planned, most, of
        return []


async def _answers() -> None:
    return


@pytest.mark.parametrize("takes", [0, 1, 2, 3])
async def test_whatever_redis_has_not_taken_stays_wanted_here(takes: int) -> None:
    clock = HandClock()
    local, redis = LocalWanted(clock, set(), Debounce()), Taking(takes)
    wanted = LayeredWanted(cast("RedisWanted", redis), local, Switch(clock, _answers), Switch(clock, _answers))
    asked, changed = [ChatId(n) for n in range(1, 301)], [ChatId(n) for n in range(501, 601)]
    await local.ask(asked, Urgency.ASKED)
    await local.ask(changed, Urgency.CHANGED)
    await wanted.claim(HELD, {}, 0)
    left = local.take_all()
    there = {(urgency, chat) for urgency, chats in redis.taken for chat in chats}
    here = {(urgency, chat) for urgency, chats in left.items() for chat in chats}
    assert all(len(chats) <= 200 for _, chats in redis.taken), "in pieces that Redis answers in time"
    assert len(there) + len(here) == len(asked) + len(changed)
    assert there | here == {(Urgency.ASKED, chat) for chat in asked} | {(Urgency.CHANGED, chat) for chat in changed}


@dataclass
class Granting:
    """Answers what a test says."""

    grant: Grant

    async def take(self, urgency: Urgency) -> Grant:
        del urgency
        return self.grant

    async def spent(self, calls: Mapping[int, int]) -> None:
        raise AssertionError(calls)


async def test_the_clock_of_redis_is_that_of_the_leave_it_has_given() -> None:
    clock, redis = HandClock(), Granting(Grant(0, 0.0))
    local = LocalBudget(Allowance(), clock, random.Random(1))
    budget = LayeredBudget(cast("RedisBudget", redis), local, Switch(clock, _answers))
    ahead_ms = budget.now_ms + 7_000
    redis.grant = Grant(ahead_ms, 0.0, 0.1)
    await budget.take(Urgency.TOP)
    assert budget.now_ms == ahead_ms
    clock.seconds += 30
    # Who is told to wait may be told what was told others before.
    redis.grant = Grant(ahead_ms, 60.0)
    await budget.take(Urgency.TOP)
    assert budget.now_ms == ahead_ms + 30_000


@dataclass
class Outages:
    """Gives leave until `away`; keeps what it was told of calls that it had not granted."""

    clock: HandClock
    away: bool = False
    granted: int = 0
    told: list[Mapping[int, int]] = field(default_factory=list)

    async def take(self, urgency: Urgency) -> Grant:
        del urgency
        self._answers()
        self.granted += 1
        return Grant(int(self.clock.now().timestamp() * 1_000), 0.0, self.clock.monotonic() + 0.1)

    async def spent(self, calls: Mapping[int, int]) -> None:
        self._answers()
        self.told.append(calls)

    async def probe(self) -> None:
        self._answers()

    def _answers(self) -> None:
        if self.away:
            raise OutageError("redis", "away")


async def taken(budget: LayeredBudget, clock: HandClock, seconds: float) -> int:
    """How many calls a reader makes who takes all there is."""
    calls, ends = 0, clock.seconds + seconds
    while clock.seconds < ends:
        grant = await budget.take(Urgency.ASKED)
        calls += grant.wait_s <= 0
        clock.seconds += max(0.05, min(grant.wait_s, 1.0))
    return calls


async def test_over_an_outage_of_redis_no_hour_has_more_calls_than_its_share() -> None:
    clock = HandClock()
    redis = Outages(clock)
    local = LocalBudget(Allowance(per_second=5, per_hour=600), clock, random.Random(1))
    budget = LayeredBudget(cast("RedisBudget", redis), local, Switch(clock, redis.probe))
    there = await taken(budget, clock, 20)
    assert there == redis.granted == 400
    redis.away = True
    assert await taken(budget, clock, 600) == 200, "what Redis granted is remembered"
    assert await taken(budget, clock, 3_000) == 0
    assert await taken(budget, clock, 120) > 0, "the hour is over"


async def test_what_was_spent_while_redis_was_away_is_told_to_it_once_and_before_it_grants_anything() -> None:
    clock = HandClock()
    redis = Outages(clock)
    local = LocalBudget(Allowance(per_second=5, per_hour=600), clock, random.Random(1))
    budget = LayeredBudget(cast("RedisBudget", redis), local, Switch(clock, redis.probe))
    await taken(budget, clock, 5)
    redis.away = True
    here = await taken(budget, clock, 65)
    assert here > 100
    redis.away, granted = False, redis.granted
    await budget.take(Urgency.ASKED)
    assert len(redis.told) == 1
    assert sum(redis.told[0].values()) == here
    minute = int(clock.now().timestamp()) // 60
    assert set(redis.told[0]) <= {minute - 1, minute}
    await taken(budget, clock, 5)
    assert len(redis.told) == 1
    assert redis.granted > granted


@dataclass
class Refusing:
    """A Redis that answers whoever looks for it, and refuses everything else; or the budget alone."""

    leases: bool = False

    async def take(self, urgency: Urgency) -> Grant:
        raise OutageError("redis", f"not for {urgency}")

    async def spent(self, calls: Mapping[int, int]) -> None:
        raise OutageError("redis", f"not {len(calls)} minutes")

    async def hand_over(self, chats: Collection[ChatId], urgency: Urgency) -> None:
        raise OutageError("redis", f"not for {urgency}: {len(chats)}")

    async def claim(
        self, held: Mapping[int, int], planned: Mapping[ChatId, Urgency], most: int, *, of: Of
    ) -> list[Claim]:
        raise OutageError("redis", f"not for {len(held)}, {len(planned)}, {most}, {of}")

    async def keep(self) -> None:
        if not self.leases:
            raise OutageError("redis", "no leases")


@pytest.mark.parametrize("leases", [False, True])
async def test_the_fixed_share_is_given_where_redis_answers_and_refuses_the_budget(leases: bool) -> None:
    clock, redis = HandClock(), Refusing(leases)
    switch = Switch(clock, _answers)
    local = LocalBudget(Allowance(per_second=9), clock, random.Random(1))
    budget = LayeredBudget(cast("RedisBudget", redis), local, switch)
    calls = 0
    for _ in range(60):
        calls += await taken(budget, clock, 1)
        with suppress(OutageError):
            await switch.attempt(redis.keep)
    assert 400 < calls <= 9 * 60


async def test_redis_that_answers_and_refuses_is_away_until_it_does_what_it_is_asked() -> None:
    clock, redis, told = HandClock(), Refusing(), list[bool]()
    switch = Switch(clock, _answers, told.append)
    for _ in range(20):
        with pytest.raises(OutageError):
            await switch.attempt(redis.keep)
        clock.seconds += 0.3
    assert told == [True]
    redis.leases = True
    await switch.attempt(redis.keep)
    assert told == [True, False]


async def test_an_end_of_which_redis_need_not_hear_says_nothing_of_redis() -> None:
    clock, told = HandClock(), list[bool]()
    local = LocalWanted(clock, set(), Debounce())
    steady = Switch(clock, _answers, told.append)
    wanted = LayeredWanted(cast("RedisWanted", Refusing()), local, steady, Switch(clock, _answers))
    await local.ask([ChatId(1)], Urgency.ASKED)
    claims = await wanted.claim(HELD, {}, 5)
    assert len(claims) == 1
    clock.seconds += 1
    await wanted.finish(claims)
    assert told == [True]


async def test_a_wish_that_redis_refuses_again_and_again_waits_for_its_debounce_once() -> None:
    clock = HandClock()
    local = LocalWanted(clock, set(), Debounce(wait_ms=1_500))
    wanted = LayeredWanted(cast("RedisWanted", Refusing()), local, Switch(clock, _answers), Switch(clock, _answers))
    await local.ask([ChatId(1)], Urgency.CHANGED)
    claims = []
    for _ in range(30):
        claims += await wanted.claim(HELD, {}, 5)
        clock.seconds += 0.1
    assert [claim.chat for claim in claims] == [1]


async def test_what_is_compared_with_reads_goes_by_the_clock_that_they_are_stamped_by() -> None:
    own = HandClock()
    budget = LocalBudget(Allowance(), own, random.Random(1))
    clock = RedisClock(lambda: budget.now_ms, own)
    assert clock.now() == own.now()
    budget.set_clock(int(own.now().timestamp() * 1_000) - 700)
    await clock.sleep(2.0)
    assert (clock.now() - own.now()).total_seconds() == -0.7
    assert clock.monotonic() == own.monotonic() == 2.0
