"""Which replica holds which slots while a real Redis is killed, forgets, or comes back with an older state."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.contract.participants.redis_ports import Replica
from tests.integration.participants.redis_gone import GRACE, until_back
from tests.integration.redis_of_ours import RedisOfOurs

from chatferry.participants.adapters.redis_layers import LayeredSlots
from chatferry.participants.domain.catalogue import SLOTS

pytestmark = pytest.mark.integration


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


async def test_who_begins_without_redis_reads_after_a_while_and_is_fenced_by_who_takes_slots_once_it_is_back(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    begun, other = replicas[:2]
    slots = LayeredSlots(begun.slots, begun.local_slots, begun.steady)
    server.kill()
    assert (await slots.keep()).slots == {}
    await asyncio.sleep(GRACE.alone_s)
    alone = await slots.keep()
    assert alone.slots.keys() == alone.taken == set(range(SLOTS))
    server.start()
    await until_back(begun)
    deadline = time.monotonic() + 10
    while True:
        held = [(await slots.keep()).slots, (await other.slots.keep()).slots]
        if [len(one) for one in held] == [32, 32]:
            break
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert all(min(one.values()) > max(alone.slots.values()) for one in held)


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
