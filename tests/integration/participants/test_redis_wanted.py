"""No chat is read twice at once, whatever replicas do, on a real Redis."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
from tests.contract.participants.redis_ports import Replica, replicas_of

from chatferry.participants.adapters.local_work import LeaseRules
from chatferry.participants.domain.catalogue import slot_of
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import Claim, Held
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
SHORT = LeaseRules(read_s=0.4, lease_s=1.2, grace_s=0.0)
CHATS = [ChatId(n) for n in range(1, 121)]


@dataclass
class Platform:
    """What is being read, by anybody."""

    reading: Counter[ChatId] = field(default_factory=Counter)
    twice: list[ChatId] = field(default_factory=list)
    read: Counter[ChatId] = field(default_factory=Counter)

    async def get(self, chat: ChatId, seconds: float) -> None:
        self.reading[chat] += 1
        if self.reading[chat] > 1:
            self.twice.append(chat)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.reading[chat] -= 1
            self.read[chat] += 1


@dataclass
class Reader:
    """A replica at work. While it is `frozen` it does nothing but finish the reads that MAX already answers."""

    replica: Replica
    platform: Platform
    rng: random.Random
    frozen: bool = False
    dead: bool = False

    async def run(self, ends: float) -> None:
        held, kept_at, reads = Held({}), float("-inf"), set[asyncio.Task[None]]()
        while time.monotonic() < ends and not self.dead:
            if self.frozen:
                await asyncio.sleep(0.01)
                continue
            if time.monotonic() - kept_at > 0.2:
                held, kept_at = await self.replica.slots.keep(), time.monotonic()
                await self.replica.wanted.take_over({slot: held.slots[slot] for slot in held.taken})
            planned = dict.fromkeys(self.rng.sample(CHATS, 5), Urgency.NIGHTLY)
            for claim in await self.replica.wanted.claim(held.slots, planned, 20):
                reads.add(asyncio.create_task(self._read(claim, held)))
            reads = {task for task in reads if not task.done()}
            await asyncio.sleep(0.005)
        await asyncio.gather(*reads)

    async def _thaw(self) -> None:
        while self.frozen:  # noqa: ASYNC110 - a process that was stopped is not told by an event either
            await asyncio.sleep(0.01)

    async def _read(self, claim: Claim, held: Held) -> None:
        # As after a wait for leave: the lease may have become too short for a read.
        await asyncio.sleep(self.rng.uniform(0, 0.05))
        if self.frozen or self.dead or time.monotonic() > held.until:
            return
        await self.platform.get(claim.chat, self.rng.uniform(0.005, 0.12))
        await self._thaw()
        if not self.dead:
            again = {claim.chat: 0.5} if self.rng.random() < 0.1 else {}
            await self.replica.wanted.finish([claim], again)


async def test_no_chat_is_read_twice_at_once_while_replicas_come_freeze_and_die(stack: Addresses) -> None:
    rng, platform = random.Random(), Platform()
    async with replicas_of(stack.redis, many=4, rules=SHORT) as replicas:
        readers = [Reader(replica, platform, random.Random(rng.random())) for replica in replicas]
        ends = time.monotonic() + 9.0
        tasks = [asyncio.create_task(reader.run(ends)) for reader in readers[:3]]
        asked: set[ChatId] = set()
        while (left := ends - time.monotonic()) > 0:
            some = rng.sample(CHATS, 6)
            asked |= set(some)
            await rng.choice(replicas).wanted.ask(some, rng.choice([Urgency.ASKED, Urgency.CHANGED]))
            readers[0].frozen = 6.5 > left > 4.5
            readers[1].dead = readers[1].dead or left < 6.0
            if left < 5.0 and len(tasks) == 3:
                tasks.append(asyncio.create_task(readers[3].run(ends)))
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks)
    assert platform.twice == []
    assert asked <= platform.read.keys(), "whoever died or froze, each was read in the end"
    assert sum(platform.read.values()) > 500


async def test_what_a_dead_replica_was_reading_is_wanted_again_by_its_heir(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=2, rules=SHORT) as [dead, heir]:
        held = (await dead.slots.keep()).slots
        await dead.wanted.ask([ChatId(1)], Urgency.ASKED)
        claims = await dead.wanted.claim(held, {ChatId(2): Urgency.TOP}, 5)
        assert {claim.chat for claim in claims} == {ChatId(1), ChatId(2)}
        await asyncio.sleep(SHORT.lease_s + 0.1)
        theirs = (await heir.slots.keep()).slots
        await heir.wanted.take_over(theirs)
        taken = await heir.wanted.claim(theirs, {}, 5)
        assert [(claim.chat, claim.urgency) for claim in taken] == [
            (ChatId(1), Urgency.ASKED),
            (ChatId(2), Urgency.CHANGED),
        ]
        # The dead one was only slow: what it does now changes nothing.
        assert await dead.wanted.claim(held, {ChatId(3): Urgency.TOP}, 5) == []
        await dead.wanted.finish(claims, again={ChatId(1): 0.5})
        await dead.wanted.take_over(held)
        assert await heir.wanted.claim(theirs, {ChatId(1): Urgency.TOP}, 5) == []


async def test_nothing_is_claimed_under_a_lease_that_is_too_short_for_a_read(stack: Addresses) -> None:
    async with replicas_of(stack.redis, rules=SHORT) as [replica]:
        held = (await replica.slots.keep()).slots
        await replica.wanted.ask([ChatId(1)], Urgency.ASKED)
        await asyncio.sleep(SHORT.lease_s - SHORT.read_s + 0.05)
        assert await replica.wanted.claim(held, {}, 5) == []
        held = (await replica.slots.keep()).slots
        assert len(await replica.wanted.claim(held, {}, 5)) == 1


async def test_a_claim_whose_answer_was_lost_is_made_again(stack: Addresses) -> None:
    async with replicas_of(stack.redis) as [replica]:
        held = (await replica.slots.keep()).slots
        await replica.wanted.ask([ChatId(1)], Urgency.ASKED)
        assert len(await replica.wanted.claim(held, {}, 5)) == 1
        # As if the answer had never come: nobody here knows of the claim.
        replica.reading.clear()
        assert await replica.wanted.claim(held, {ChatId(1): Urgency.TOP}, 5) == []
        deadline = time.monotonic() + 8
        claims: list[Claim] = []
        while not claims and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            held = (await replica.slots.keep()).slots
            claims = await replica.wanted.claim(held, {}, 5)
        assert [(claim.chat, claim.urgency) for claim in claims] == [(ChatId(1), Urgency.ASKED)]


async def test_a_chat_that_this_process_reads_is_not_claimed_though_redis_forgot_it(stack: Addresses) -> None:
    async with replicas_of(stack.redis) as [replica]:
        held = (await replica.slots.keep()).slots
        await replica.wanted.claim(held, {ChatId(1): Urgency.TOP}, 5)
        await replica.redis.delete(replica.keys.own(f"reading:{slot_of(ChatId(1))}"))
        await replica.wanted.ask([ChatId(1)], Urgency.ASKED)
        assert await replica.wanted.claim(held, {ChatId(1): Urgency.TOP}, 5) == []
