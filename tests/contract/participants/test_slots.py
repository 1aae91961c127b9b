"""What every `Slots` has to do, for one replica that holds some."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from tests.contract.participants.redis_ports import RULES, replicas_of

from chatferry.common.clock import SystemClock
from chatferry.participants.adapters.local_work import LocalSlots
from chatferry.participants.adapters.redis_layers import LayeredSlots
from chatferry.participants.domain.catalogue import SLOTS
from chatferry.participants.ports import Held, Slots


@pytest.fixture(
    params=[
        "local",
        pytest.param("redis", marks=pytest.mark.integration),
        pytest.param("layered", marks=pytest.mark.integration),
    ]
)
async def slots(request: pytest.FixtureRequest) -> AsyncIterator[Slots]:
    if request.param == "local":
        local = LocalSlots(RULES, SystemClock())
        local.learn(Held(dict.fromkeys(range(SLOTS), 3)))
        yield local
        return
    async with replicas_of(request.getfixturevalue("stack").redis) as [replica]:
        if request.param == "redis":
            yield replica.slots
        else:
            yield LayeredSlots(replica.slots, replica.local_slots, replica.steady)


async def test_what_is_held_stays_held_under_the_same_epochs(slots: Slots) -> None:
    first = await slots.keep()
    assert first.slots.keys() == set(range(SLOTS))
    second = await slots.keep()
    assert second.slots == first.slots
    assert second.taken == frozenset()


async def test_reads_may_begin_until_a_lease_is_too_short_for_them(slots: Slots) -> None:
    began = time.monotonic()
    held = await slots.keep()
    assert began < held.until <= time.monotonic() + RULES.lease_s - RULES.read_s


async def test_who_leaves_may_leave_again(slots: Slots) -> None:
    await slots.keep()
    await slots.leave()
    await slots.leave()
