"""The calls that several replicas make together, on a real Redis."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.participants.redis_ports import Replica, replicas_of

from chatferry.participants.adapters.local_work import Allowance
from chatferry.participants.domain.plan import Urgency
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


def most_in_a_second(granted_ms: Sequence[int], window_ms: int = 1_000) -> int:
    times = sorted(granted_ms)
    return max((sum(1 for one in times[n:] if one - at < window_ms) for n, at in enumerate(times)), default=0)


async def hammer(replica: Replica, urgency: Urgency, ends: float, granted_ms: list[int]) -> None:
    while time.monotonic() < ends:
        grant = await replica.budget.take(urgency)
        if grant.wait_s <= 0:
            granted_ms.append(grant.now_ms)
        else:
            await asyncio.sleep(max(0.0, min(grant.wait_s, ends - time.monotonic())))


@given(
    cap=st.integers(1, 30),
    many=st.integers(1, 4),
    urgencies=st.lists(st.sampled_from(list(Urgency)), min_size=1, max_size=6),
    refusal_s=st.one_of(st.none(), st.floats(0, 1.5)),
)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whoever_asks_no_second_has_more_grants_than_the_cap(
    stack: Addresses, cap: int, many: int, urgencies: list[Urgency], refusal_s: float | None
) -> None:
    async def run() -> list[int]:
        granted_ms: list[int] = []
        async with replicas_of(stack.redis, many=many, allowance=Allowance(per_second=cap)) as replicas:
            ends = time.monotonic() + 3.6
            tasks = [
                asyncio.create_task(hammer(replica, urgency, ends, granted_ms))
                for replica in replicas
                for urgency in urgencies
            ]
            if refusal_s is not None:
                await asyncio.sleep(refusal_s)
                await replicas[-1].budget.refused(0.1)
            await asyncio.gather(*tasks)
        return granted_ms

    granted_ms = asyncio.run(run())
    assert granted_ms
    assert most_in_a_second(granted_ms) <= cap
    assert most_in_a_second(granted_ms, 1_100) <= max(cap, 30)


@pytest.mark.parametrize("urgency", [Urgency.ASKED, Urgency.SAFETY])
async def test_where_there_is_demand_the_budget_is_used(stack: Addresses, urgency: Urgency) -> None:
    async with replicas_of(stack.redis, many=3) as replicas:
        begin = time.monotonic() + 1.5
        granted_ms: list[int] = []
        await asyncio.gather(*(hammer(one, urgency, begin, granted_ms) for one in replicas))
        granted_ms.clear()
        seconds = 5.0
        ends = begin + seconds
        await asyncio.gather(*(hammer(one, urgency, ends, granted_ms) for one in replicas for _ in range(10)))
        print(f"{len(granted_ms) / seconds / 27:.3f} of the budget")
        assert len(granted_ms) >= 27 * seconds * 0.75, "a busy machine wakes some of them late"
        assert most_in_a_second(granted_ms) <= 27


async def test_many_who_wait_here_do_not_ask_redis_each(stack: Addresses) -> None:
    async with replicas_of(stack.redis) as [replica]:
        calls = 0
        sent = replica.redis.execute_command

        async def counted(*args: object, **options: object) -> object:
            nonlocal calls
            calls += args[0] == "EVALSHA"
            return await sent(*args, **options)  # type: ignore[no-untyped-call]

        replica.redis.execute_command = counted  # type: ignore[method-assign]
        granted_ms: list[int] = []
        ends = time.monotonic() + 3.0
        await asyncio.gather(*(hammer(replica, Urgency.SAFETY, ends, granted_ms) for _ in range(50)))
        assert len(granted_ms) > 27
        assert calls < 6 * len(granted_ms) + 50


async def test_a_reader_soon_finds_room_though_others_use_all_there_is(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=2) as [busy, reader]:
        ends = time.monotonic() + 5.0
        others = [asyncio.create_task(hammer(busy, Urgency.SAFETY, ends, [])) for _ in range(10)]
        await asyncio.sleep(2.5)
        waits = []
        for _ in range(10):
            began = time.monotonic()
            while True:
                grant = await reader.budget.take(Urgency.ASKED)
                if grant.wait_s <= 0:
                    break
                await asyncio.sleep(grant.wait_s)
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.2)
        await asyncio.gather(*others)
        assert max(waits) < 0.6, "a second would be the whole window"


async def test_a_refusal_anywhere_slows_all_and_is_forgotten_slowly(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=2) as [one, other]:
        await asyncio.sleep(0)
        granted_ms: list[int] = []
        await hammer(one, Urgency.ASKED, time.monotonic() + 1.3, granted_ms)
        for _ in range(4):
            await one.budget.refused(0.2)
        cap = int(await one.redis.hget(one.keys.own("budget"), "cap") or 0)
        assert cap == 13
        assert (await other.budget.take(Urgency.ASKED)).wait_s > 0.1
        await asyncio.sleep(0.3)
        granted_ms.clear()
        await hammer(other, Urgency.ASKED, time.monotonic() + 9.0, granted_ms)
        begin = min(granted_ms)
        # For seconds each: a busy machine does not use every one of them up.
        assert most_in_a_second([at for at in granted_ms if at < begin + 4_000]) == 13
        assert most_in_a_second([at for at in granted_ms if at > begin + 5_000]) == 14


async def test_refusals_one_after_the_other_double_the_pause_up_to_a_minute(stack: Addresses) -> None:
    async with replicas_of(stack.redis) as [replica]:
        key = replica.keys.own("budget")
        await replica.budget.refused(None)
        pauses = []
        for _ in range(9):
            # As if the pause were over: the refusals' times are moved, not waited for.
            refused, pause = (int(float(one or 0)) for one in await replica.redis.hmget(key, ["refused", "pause"]))
            pauses.append((pause - refused) / 1_000_000)
            now = int(time.time() * 1_000_000)
            moved = {"refused": now - 1_500_000, "pause": now - 500_000}
            await replica.redis.hset(key, mapping={name: str(at) for name, at in moved.items()})
            await replica.budget.refused(None)
        assert all(1.0 <= pause / min(60, 2**n) <= 1.26 for n, pause in enumerate(pauses)), pauses
        assert await replica.redis.hget(key, "cap") == b"1"


async def test_leave_that_redis_gave_too_slowly_is_no_leave(stack: Addresses) -> None:
    async with replicas_of(stack.redis) as [replica]:
        await hammer(replica, Urgency.ASKED, time.monotonic() + 1.3, [])
        await asyncio.sleep(1.2)
        sent = replica.redis.execute_command

        async def slow(*args: object, **options: object) -> object:
            answer = await sent(*args, **options)  # type: ignore[no-untyped-call]
            await asyncio.sleep(0.15)
            return answer

        replica.redis.execute_command = slow  # type: ignore[method-assign]
        assert (await replica.budget.take(Urgency.ASKED)).wait_s > 0
        replica.redis.execute_command = sent  # type: ignore[method-assign]
        assert (await replica.budget.take(Urgency.ASKED)).wait_s == 0


async def test_the_hours_calls_are_shared_by_all(stack: Addresses) -> None:
    allowance = Allowance(per_second=27, per_hour=600)
    async with replicas_of(stack.redis, many=2, allowance=allowance) as replicas:
        granted_ms: list[int] = []
        ends = time.monotonic() + 3.0
        await asyncio.gather(*(hammer(one, Urgency.ASKED, ends, granted_ms) for one in replicas))
        assert len(granted_ms) in (10, 20), "as if the hour before had been used evenly: ten a minute"
        assert (await random.choice(replicas).budget.take(Urgency.ASKED)).wait_s > 0


async def test_what_was_spent_without_redis_is_taken_off_the_hour_there(stack: Addresses) -> None:
    allowance = Allowance(per_second=27, per_hour=600)
    async with replicas_of(stack.redis, allowance=allowance) as [replica]:
        minute = (await replica.budget.take(Urgency.ASKED)).now_ms // 60_000
        await asyncio.sleep(1.2)
        await replica.budget.spent({minute: 30, minute - 90: 4})
        ends, granted_ms = time.monotonic() + 1.5, list[int]()
        await hammer(replica, Urgency.ASKED, ends, granted_ms)
        assert granted_ms == [], "ten a minute, of which three minutes' are gone"


async def test_where_the_hour_has_no_limit_of_its_own_nothing_is_kept_of_it(stack: Addresses) -> None:
    async with replicas_of(stack.redis) as [replica]:
        minute = int(time.time()) // 60
        await replica.budget.spent({minute: 30})
        assert not await replica.redis.exists(replica.keys.own("budget:hour"))
