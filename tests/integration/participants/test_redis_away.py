"""What the ports do while a real Redis is killed, hangs, forgets, or comes back with what was true some time ago."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
from tests.contract.participants.redis_ports import Replica
from tests.integration.participants.redis_gone import GRACE
from tests.integration.redis_of_ours import RedisOfOurs

from chatferry.participants.adapters.layered_budget import LayeredBudget
from chatferry.participants.adapters.layered_counts import LayeredCounts
from chatferry.participants.adapters.redis_layers import LayeredSlots, LayeredWaiting, LayeredWanted
from chatferry.participants.domain.catalogue import SLOTS
from chatferry.participants.domain.counts import ChatId, Count, Mark, Stamp
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import Budget, Claim

pytestmark = pytest.mark.integration
ONE, TWO = ChatId(1), ChatId(2)


def read(count: int, at_ms: int | None = None, epoch: int = 1) -> Count:
    return Count(count, Mark.CONFIRMED, Stamp(epoch, at_ms or int(time.time() * 1_000)))


async def settled(replica: Replica) -> None:
    """What was to be written back is."""
    deadline = time.monotonic() + 10
    while True:
        if not replica.quick.back.is_set():
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_no_request_waits_long_for_a_redis_that_hangs_and_few_look_for_it(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    replica.quick_s = 0.05
    replica.__post_init__()
    async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as counts:
        await counts.write(ONE, read(10))
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGSTOP)
        looked, probe = 0, replica.quick.probe

        async def counted() -> None:
            nonlocal looked
            looked += 1
            await probe()

        replica.quick.probe = counted
        try:
            took = []
            begin = time.monotonic()
            while time.monotonic() - begin < 2.2:
                began = time.monotonic()
                assert (await counts.load([ONE]))[ONE].count == 10
                took.append(time.monotonic() - began)
                await asyncio.sleep(0.005)
        finally:
            os.kill(server._process.pid, signal.SIGCONT)
        assert looked <= 5, "one attempt in half a second"
        assert sorted(took)[-2 - looked] < 0.02, "whoever does not look does not wait"
        assert max(took) < 0.6, "0.05 s, and what a busy machine adds"


async def granted(budget: Budget, ends: float, times: list[float]) -> None:
    while time.monotonic() < ends:
        grant = await budget.take(Urgency.SAFETY)
        if grant.wait_s > 0:
            await asyncio.sleep(max(0.0, min(grant.wait_s, ends - time.monotonic())))
        elif time.monotonic() <= grant.until:
            times.append(time.monotonic())


@pytest.mark.parametrize("hangs", [False, True])
async def test_no_second_has_more_than_thirty_calls_while_redis_goes_and_comes(
    server: RedisOfOurs, replicas: list[Replica], hangs: bool
) -> None:
    times: list[float] = []
    ends = time.monotonic() + 13
    tasks = [
        asyncio.create_task(granted(LayeredBudget(one.budget, one.local_budget, one.steady), ends, times))
        for one in replicas
        for _ in range(5)
    ]
    await asyncio.sleep(3.0)
    assert server._process is not None
    process = server._process.pid
    os.kill(process, signal.SIGSTOP) if hangs else server.kill()
    # A Redis that hangs is seen to be away after a second.
    fell = time.monotonic() + (1.0 if hangs else 0.0)
    await asyncio.sleep(4.3 if hangs else 3.3)
    if hangs:
        os.kill(process, signal.SIGCONT)
    else:
        await asyncio.to_thread(server.start)
    back = time.monotonic()
    await asyncio.gather(*tasks)
    times.sort()
    assert all(times[n + 30] - times[n] >= 1.0 for n in range(len(times) - 30))
    # From the first second's on: a share may be taken as a whole.
    assert sum(fell + 1.05 < at < fell + 3.3 for at in times) >= 2 * 27 * 0.6, "their shares make the whole"
    assert sum(at > back + 3.5 for at in times) > (ends - back - 3.5) * 27 * 0.6


async def test_a_redis_that_forgot_what_was_granted_grants_nothing_for_a_second(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    times: list[float] = []
    await granted(replica.budget, time.monotonic() + 2.5, times)
    assert times
    server.kill()
    server.start()
    await replica.redis.connection_pool.disconnect()
    assert 0.9 < (await replica.budget.take(Urgency.ASKED)).wait_s < 1.2


async def test_what_is_wanted_while_redis_is_away_is_read_here_or_handed_over(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    slots = LayeredSlots(replica.slots, replica.local_slots, replica.steady)
    wanted = LayeredWanted(replica.wanted, replica.local_wanted, replica.steady, replica.quick)
    await slots.keep()
    await asyncio.sleep(GRACE.grace_s)
    held = (await slots.keep()).slots
    assert len(held) == SLOTS
    await wanted.ask([ONE], Urgency.ASKED)
    [there] = await wanted.claim(held, {}, 5)
    server.kill()
    await wanted.ask([ONE, TWO], Urgency.ASKED)
    assert (await slots.keep()).slots == held
    [here] = await wanted.claim(held, {ONE: Urgency.TOP}, 5)
    assert here.chat == TWO, "what was claimed in Redis is being read still"
    await wanted.finish([there], again={ONE: 0.5})
    server.start()
    deadline = time.monotonic() + 10
    claims: list[Claim] = []
    while not claims and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        held = (await slots.keep()).slots
        claims = await wanted.claim(held, {TWO: Urgency.TOP}, 5)
    assert [claim.chat for claim in claims] == [ONE], "and what was claimed here, too"
    await wanted.finish([here])
    await wanted.finish(claims)
    assert [claim.chat for claim in await wanted.claim(held, {TWO: Urgency.TOP}, 5)] == [TWO]


async def test_nobody_who_waits_hangs_when_redis_goes(server: RedisOfOurs, replicas: list[Replica]) -> None:
    replica, other, _ = replicas
    async with replica.waiting as on_redis:
        waiting = LayeredWaiting(on_redis, replica.here, replica.steady, replica.quick)
        task = asyncio.create_task(waiting.wait([ONE], 100, 15.0))
        late = asyncio.create_task(waiting.wait([TWO], 100, 20.0))
        await asyncio.sleep(0.2)
        server.kill()
        began = time.monotonic()
        assert await waiting.wait([TWO], 100, 0.3) == set()
        assert time.monotonic() - began < 10
        await waiting.tell({ONE: 100})
        assert await task == {ONE}, "a read of this replica's own is heard all the same"
        server.start()
        await other.redis.connection_pool.disconnect()
        await other.waiting.tell({TWO: 100})
        assert await late == {TWO}
        assert time.monotonic() - began < 10
