"""Leases of the slots, among replicas that come, go and die, on a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import pytest
from tests.contract.participants.redis_ports import Replica, replicas_of

from chatferry.participants.adapters.local_work import LeaseRules
from chatferry.participants.domain.catalogue import SLOTS, slot_of
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import Held
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
SHORT = LeaseRules(read_s=0.3, lease_s=1.0, grace_s=0.0)


async def rounds(replicas: Iterable[Replica], times: int = 2) -> list[Held]:
    """Each says several times that it is there; what each holds at the end."""
    held = []
    for _ in range(times):
        held = [await replica.slots.keep() for replica in replicas]
    return held


def disjoint(held: Iterable[Held]) -> bool:
    slots = [slot for one in held for slot in one.slots]
    return len(slots) == len(set(slots))


async def test_replicas_share_the_slots_evenly_and_none_is_two_replicas(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=3) as [one, two, three]:
        [alone] = await rounds([one])
        assert alone.slots.keys() == set(range(SLOTS))
        for replicas, shares in (([one, two], [32, 32]), ([one, two, three], [20, 22, 22])):
            held = await rounds(replicas, 3)
            assert sorted(len(each.slots) for each in held) == shares
            assert disjoint(held)
            assert sum(len(each.slots) for each in held) == SLOTS


async def test_a_slot_that_changes_hands_has_a_higher_epoch(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=2) as [one, two]:
        now_ms = int(time.time() * 1_000)
        [before] = await rounds([one], 1)
        assert min(before.slots.values()) > now_ms - 5_000, "they follow the clock: a Redis that forgot them is no harm"
        assert before.taken == frozenset(range(SLOTS))
        await one.slots.leave()
        [after] = await rounds([two], 1)
        assert all(after.slots[slot] > before.slots[slot] for slot in range(SLOTS))
        assert after.taken == frozenset(range(SLOTS))


async def test_the_slots_of_a_dead_replica_are_others_when_its_leases_end(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=3, rules=SHORT) as replicas:
        dead, *alive = replicas
        last, *_ = await rounds(replicas, 4)
        died = time.monotonic()
        while True:
            held = await rounds(alive, 1)
            taken = {slot for one in held for slot in one.slots}
            if taken & last.slots.keys():
                assert time.monotonic() > last.until, "not while the dead one might still be reading"
            if len(taken) == SLOTS:
                break
            assert time.monotonic() - died < SHORT.lease_s + 5
            await asyncio.sleep(0.05)
        assert disjoint(held)
        back = await dead.slots.keep()
        assert back.slots == {}, "others have them now"


async def test_a_slot_is_not_given_back_while_something_of_it_is_read(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=2) as [one, two]:
        [held] = await rounds([one], 1)
        chats = [next(ChatId(n) for n in range(1, 10_000) if slot_of(ChatId(n)) == slot) for slot in range(SLOTS)]
        await one.wanted.ask(chats, Urgency.ASKED)
        claims = await one.wanted.claim(held.slots, {}, SLOTS)
        assert len(claims) == SLOTS
        ours, theirs = (await rounds([one, two], 3))[:2]
        assert len(ours.slots) == 32, "nothing new is begun where it has to go"
        assert theirs.slots == {}
        await one.wanted.finish(claims)
        ours, theirs = await rounds([one, two], 2)
        assert (len(ours.slots), len(theirs.slots)) == (32, 32)
        assert disjoint([ours, theirs])


async def test_a_slot_is_not_given_back_while_this_process_reads_what_redis_does_not_know(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=2) as [one, two]:
        await rounds([one], 1)
        chat = next(ChatId(n) for n in range(1, 10_000) if slot_of(ChatId(n)) == SLOTS - 1)
        one.reading.add(chat)
        _, theirs = await rounds([one, two], 3)
        assert len(theirs.slots) == 31
        one.reading.clear()
        _, theirs = await rounds([one, two], 2)
        assert SLOTS - 1 in theirs.slots


async def test_who_leaves_keeps_the_slots_of_which_it_still_reads_until_their_leases_end(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=2, rules=SHORT) as [one, two]:
        [held] = await rounds([one], 1)
        await one.wanted.ask([ChatId(1)], Urgency.ASKED)
        [claim] = await one.wanted.claim(held.slots, {}, 1)
        await one.slots.leave()
        [theirs] = await rounds([two], 1)
        assert set(range(SLOTS)) - theirs.slots.keys() == {slot_of(claim.chat)}
        await asyncio.sleep(SHORT.lease_s + 0.1)
        [theirs] = await rounds([two], 1)
        assert len(theirs.slots) == SLOTS


async def test_a_lease_that_was_written_before_the_clock_was_set_back_ends_all_the_same(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=2, rules=SHORT) as [one, two]:
        later = int(time.time() * 1_000) + 3_600_000
        await one.redis.hset(one.keys.own("leases"), "5", f"gone {later} {later}")
        [held] = await rounds([two], 1)
        assert 5 not in held.slots
        await asyncio.sleep(SHORT.lease_s + 0.1)
        [held] = await rounds([two], 1)
        assert held.slots[5] > later
