"""What the ports do while a real Redis is killed, hangs, forgets, or comes back with what was true some time ago."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.contract.participants.redis_ports import Replica, replicas_of
from tests.integration.common.portal.redis_of_ours import RedisOfOurs

from chatferry.common.errors import OutageError
from chatferry.participants.adapters.local_work import LeaseRules
from chatferry.participants.adapters.redis_layers import (
    LayeredBudget,
    LayeredCounts,
    LayeredSlots,
    LayeredWaiting,
    LayeredWanted,
)
from chatferry.participants.domain.catalogue import SLOTS
from chatferry.participants.domain.counts import ChatId, Count, Mark, Stamp
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import Budget, Claim

pytestmark = pytest.mark.integration
ONE, TWO = ChatId(1), ChatId(2)
GRACE = LeaseRules(read_s=0.3, lease_s=2.0, grace_s=1.5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisOfOurs]:
    server = RedisOfOurs.in_folder(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
async def replicas(server: RedisOfOurs) -> AsyncIterator[list[Replica]]:
    async with replicas_of(server.url, many=3, rules=GRACE) as three:
        yield three
        if server._process is None:
            server.start()


def read(count: int, at_ms: int | None = None, epoch: int = 1) -> Count:
    return Count(count, Mark.CONFIRMED, Stamp(epoch, at_ms or int(time.time() * 1_000)))


async def until_back(replica: Replica) -> None:
    """Redis answers this client again: no dead connection is left in it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            await replica.quick.attempt(replica.quick.probe)
        except OutageError:
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("Redis does not come back")


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
        assert max(took) < 0.25, "0.05 s, and what a busy machine adds"


async def test_slots_stay_with_their_holders_over_an_outage_and_a_redis_that_forgot_everything(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    layers = [LayeredSlots(one.slots, one.local_slots, one.steady) for one in replicas[:2]]
    deadline = time.monotonic() + 10
    while True:
        held = [await slots.keep() for slots in layers]
        if [len(one.slots) for one in held] == [32, 32]:
            break
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    server.kill()
    assert [(await slots.keep()).slots for slots in layers] == [one.slots for one in held]
    server.start()
    for one in replicas:
        await one.redis.connection_pool.disconnect()
    stranger = await replicas[2].slots.keep()
    assert stranger.slots == {}, "it cannot know who holds them"
    await asyncio.sleep(0.5)
    back = [await slots.keep() for slots in layers]
    assert not any(one.away for one in (replicas[0].steady, replicas[1].steady))
    for before, after in zip(held, back, strict=True):
        assert after.taken == frozenset()
        assert after.slots.items() <= before.slots.items()
    deadline = time.monotonic() + 10
    while True:
        shared = [(await one.keep()).slots for one in layers] + [(await replicas[2].slots.keep()).slots]
        slots = [slot for one in shared for slot in one]
        assert len(slots) == len(set(slots))
        if len(slots) == SLOTS:
            break
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert min(shared[2].values()) > max(held[0].slots.values()), "an epoch never comes again"


async def test_an_epoch_never_comes_again_though_nobody_is_left_who_knew_it(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    gone, heir, _ = replicas
    for replica in (gone, heir):
        await replica.slots.keep()
        await asyncio.sleep(GRACE.grace_s + 0.1)
        held = await replica.slots.keep()
        assert held.slots
        if replica is gone:
            before = held
            server.kill()
            server.start()
            await heir.redis.connection_pool.disconnect()
    assert len(held.slots) == SLOTS
    assert min(held.slots.values()) > max(before.slots.values())


async def test_an_old_snapshot_gives_no_slot_back_to_who_lost_it(server: RedisOfOurs, replicas: list[Replica]) -> None:
    loser, holder, _ = replicas
    await asyncio.sleep(GRACE.grace_s)
    await loser.slots.keep()
    await asyncio.sleep(GRACE.grace_s)
    assert len((await loser.slots.keep()).slots) == SLOTS
    server.save()
    await loser.slots.leave()
    held = await holder.slots.keep()
    assert len(held.slots) == SLOTS
    server.kill()
    server.start()
    for one in (loser, holder):
        await one.redis.connection_pool.disconnect()
    after = (await holder.slots.keep()).slots
    assert len(after) == 32, "the snapshot says that the other is there, too"
    assert after.items() <= held.slots.items(), "and the newer epoch is the truth, whatever it says of the leases"
    assert (await loser.slots.keep()).slots == {}


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
    assert sum(fell + 1.3 < at < fell + 3.3 for at in times) >= 2 * 27 * 0.8, "their shares make the whole"
    assert sum(at > back + 3.5 for at in times) > (ends - back - 3.5) * 27 * 0.8


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
        task = asyncio.create_task(waiting.wait([ONE], 100, 1.5))
        late = asyncio.create_task(waiting.wait([TWO], 100, 20.0))
        await asyncio.sleep(0.2)
        server.kill()
        began = time.monotonic()
        assert await waiting.wait([TWO], 100, 0.3) == set()
        assert time.monotonic() - began < 1.5
        await waiting.tell({ONE: 100})
        assert await task == {ONE}, "a read of this replica's own is heard all the same"
        server.start()
        await other.redis.connection_pool.disconnect()
        await other.waiting.tell({TWO: 100})
        assert await late == {TWO}
        assert time.monotonic() - began < 10
