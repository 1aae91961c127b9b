"""What every `Budget` has to do; time passes for real where Redis' clock counts it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable

import pytest
from tests.contract.participants.redis_ports import replicas_of

from chatferry.common.clock import SystemClock
from chatferry.participants.adapters.layered_budget import LayeredBudget
from chatferry.participants.adapters.local_work import Allowance, LocalBudget
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import Budget, Grant

Make = Callable[[Allowance], Budget]


@pytest.fixture(
    params=[
        "local",
        pytest.param("redis", marks=pytest.mark.integration),
        pytest.param("layered", marks=pytest.mark.integration),
    ]
)
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    if request.param == "local":
        yield lambda allowance: LocalBudget(allowance, SystemClock(), random.Random(1))
        return
    async with replicas_of(request.getfixturevalue("stack").redis) as [replica]:

        def of(allowance: Allowance) -> Budget:
            replica.allowance = allowance
            replica.__post_init__()
            if request.param == "redis":
                return replica.budget
            return LayeredBudget(replica.budget, replica.local_budget, replica.steady)

        yield of


async def leave(budget: Budget, urgency: Urgency = Urgency.ASKED) -> Grant:
    """As a reader takes it."""
    while True:
        grant = await budget.take(urgency)
        if grant.wait_s <= 0:
            return grant
        await asyncio.sleep(grant.wait_s)


async def granted_in(budget: Budget, seconds: float, urgency: Urgency) -> list[int]:
    """When leave was given to a reader who takes all there is (ms on the budget's clock)."""
    times, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends:
        grant = await budget.take(urgency)
        if grant.wait_s > 0:
            await asyncio.sleep(min(grant.wait_s, max(0.0, ends - time.monotonic())))
        else:
            assert time.monotonic() <= grant.until
            times.append(grant.now_ms)
    return times


async def test_no_second_has_more_calls_than_are_allowed_and_few_are_left_unused(make: Make) -> None:
    budget = make(Allowance(per_second=20))
    await leave(budget, Urgency.SAFETY)
    times = await granted_in(budget, 3.0, Urgency.SAFETY)
    assert all(times[n + 20] - times[n] >= 999 for n in range(len(times) - 20))
    assert len(times) >= 3 * 20 * 0.75, "a busy machine is late with some of them"


async def test_what_nobody_waits_for_leaves_room_while_somebody_does(make: Make) -> None:
    budget = make(Allowance(per_second=10, reserve=2))
    await leave(budget)
    times = await granted_in(budget, 2.0, Urgency.SAFETY)
    assert len(times) >= 11, "eight a second are left to them"
    assert len(await granted_in(budget, 0.6, Urgency.ASKED)) >= 2, "the reserve, however soon after the others"


async def test_a_refusal_makes_everybody_wait_and_go_on_at_half_the_rate(make: Make) -> None:
    budget = make(Allowance(per_second=20))
    await leave(budget)
    for _ in range(5):
        await budget.refused(0.5)
    waited = (await budget.take(Urgency.ASKED)).wait_s
    assert 0 < waited <= 0.55
    began = time.monotonic()
    await leave(budget)
    assert time.monotonic() - began >= waited - 0.05
    await asyncio.sleep(1.2)
    times = await granted_in(budget, 2.0, Urgency.ASKED)
    assert 12 <= len(times) <= 30, "10 a second: five calls that were refused together are one refusal"


async def test_without_a_word_from_max_the_pause_is_a_second_or_so(make: Make) -> None:
    budget = make(Allowance(per_second=20))
    await leave(budget)
    await budget.refused(None)
    assert 0.9 < (await budget.take(Urgency.ASKED)).wait_s <= 1.3


async def test_one_call_a_second_is_left_however_often_max_refuses(make: Make) -> None:
    budget = make(Allowance(per_second=2))
    await leave(budget)
    for _ in range(3):
        await budget.refused(0.05)
        await asyncio.sleep(1.1)
    assert (await leave(budget, Urgency.SAFETY)).wait_s <= 0


async def test_the_hours_calls_are_limited_too(make: Make) -> None:
    budget = make(Allowance(per_second=27, per_hour=600))
    await leave(budget)
    for _ in range(40):
        grant = await budget.take(Urgency.ASKED)
        if grant.wait_s > 1.2:
            break
        await asyncio.sleep(grant.wait_s)
    else:
        # The process' own window begins empty; the one in Redis as if the hour so far had been used evenly.
        assert isinstance(budget, LocalBudget)
        return
    assert grant.wait_s <= 60.01


async def test_the_time_of_a_grant_grows(make: Make) -> None:
    budget = make(Allowance(per_second=20))
    first = await leave(budget)
    await asyncio.sleep(0.02)
    second = await leave(budget)
    assert second.now_ms > first.now_ms
    assert abs(second.now_ms - time.time() * 1_000) < 5_000
