"""What the ports do while a real Redis answers and refuses what it is asked, or answers nobody."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis import Redis as Client
from tests.contract.participants.redis_ports import Replica
from tests.integration.participants.test_redis_away import ONE, TWO, granted
from tests.integration.redis_of_ours import RedisOfOurs

from chatferry.common.errors import OutageError
from chatferry.participants.adapters.layered_budget import LayeredBudget
from chatferry.participants.adapters.redis_layers import LayeredSlots, LayeredWanted
from chatferry.participants.domain.catalogue import SLOTS
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import Held

pytestmark = pytest.mark.integration


def refuse(server: RedisOfOurs, *, writes: bool) -> None:
    """Whether it refuses to write because replicas are missing, as one does whose replicas are gone."""
    with Client.from_url(server.url) as client:
        client.config_set("min-replicas-to-write", int(writes))


async def test_a_redis_that_answers_and_may_not_write_is_away_until_it_may(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica, told = replicas[0], list[bool]()
    replica.steady.told = told.append
    budget = LayeredBudget(replica.budget, replica.local_budget, replica.steady)
    slots = LayeredSlots(replica.slots, replica.local_slots, replica.steady)
    wanted = LayeredWanted(replica.wanted, replica.local_wanted, replica.steady, replica.quick)
    replica.local_slots.learn(Held(dict.fromkeys(range(SLOTS), 1)))
    refuse(server, writes=True)
    await replica.redis.ping()
    with pytest.raises(OutageError):
        await replica.steady.probe()
    times, claims = list[float](), []
    await wanted.ask([ONE], Urgency.CHANGED)
    begin = time.monotonic()
    calls = asyncio.create_task(granted(budget, begin + 5.0, times))
    while time.monotonic() < begin + 5.0:
        held = (await slots.keep()).slots
        claims += await wanted.claim(held, {}, 5)
        await asyncio.sleep(0.1)
    await calls
    assert told == [True], "it does not come and go"
    assert [claim.chat for claim in claims] == [ONE]
    assert len(times) >= 0.6 * 9 * (5.0 - 1.1), "the share of one of three"
    await wanted.ask([TWO], Urgency.ASKED)
    refuse(server, writes=False)
    await asyncio.sleep(0.6)
    await slots.keep()
    assert told == [True, False]


async def test_those_in_line_do_not_wait_for_a_redis_that_hangs_one_after_the_other(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    budget = LayeredBudget(replica.budget, replica.local_budget, replica.steady)
    wanted = LayeredWanted(replica.wanted, replica.local_wanted, replica.steady, replica.quick)
    replica.local_slots.learn(Held(dict.fromkeys(range(SLOTS), 1)))
    held = dict.fromkeys(range(SLOTS), 1)
    await budget.take(Urgency.ASKED)
    took = []

    async def timed(number: int) -> None:
        began = time.monotonic()
        if number % 2:
            await budget.take(Urgency.ASKED)
        else:
            await wanted.claim(held, {}, 5)
        took.append(time.monotonic() - began)

    with server.frozen():
        await asyncio.gather(*(timed(number) for number in range(20)))
    assert max(took) < 2.5, "a second, and what a busy machine adds"
