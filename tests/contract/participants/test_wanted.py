"""What every `Wanted` has to do, for one replica that holds all slots."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

import pytest
from tests.contract.participants.redis_ports import DEBOUNCE, replicas_of

from chatferry.common.clock import SystemClock
from chatferry.participants.adapters.local_work import LeaseRules, LocalWanted
from chatferry.participants.adapters.redis_layers import LayeredWanted
from chatferry.participants.domain.catalogue import SLOTS, slot_of
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import NEW_ENOUGH_S, PATIENCE_S, Claim, Of, Wanted

ONE, TWO, THREE = ChatId(1), ChatId(2), ChatId(-3)
DEBOUNCED_S = DEBOUNCE.wait_ms / 1_000 + 0.02
AGAIN_S = 0.55


def plan(*chats: ChatId) -> dict[ChatId, Urgency]:
    return dict.fromkeys(chats, Urgency.TOP)


class World:
    """The port, and the slots that are held."""

    def __init__(self, wanted: Wanted, held: Mapping[int, int]) -> None:
        self.wanted, self.held = wanted, held

    async def claimed(self, *planned: ChatId, most: int = 10) -> list[tuple[ChatId, Urgency]]:
        return [(claim.chat, claim.urgency) for claim in await self.wanted.claim(self.held, plan(*planned), most)]

    def claim(self, chat: ChatId, urgency: Urgency = Urgency.ASKED) -> Claim:
        return Claim(chat, urgency, self.held[slot_of(chat)])


@pytest.fixture(
    params=[
        "local",
        pytest.param("redis", marks=pytest.mark.integration),
        pytest.param("layered", marks=pytest.mark.integration),
    ]
)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "local":
        yield World(LocalWanted(SystemClock(), set(), DEBOUNCE), dict.fromkeys(range(SLOTS), 3))
        return
    rules = LeaseRules(read_s=0.3, lease_s=60.0, grace_s=0.0)
    async with replicas_of(request.getfixturevalue("stack").redis, rules=rules) as [replica]:
        held = (await replica.slots.keep()).slots
        wanted: Wanted = replica.wanted
        if request.param == "layered":
            wanted = LayeredWanted(replica.wanted, replica.local_wanted, replica.steady, replica.quick)
        yield World(wanted, held)


async def test_asked_comes_before_changed_and_changed_before_planned(world: World) -> None:
    await world.wanted.ask([TWO], Urgency.CHANGED)
    await asyncio.sleep(DEBOUNCED_S)
    await world.wanted.ask([ONE], Urgency.ASKED)
    assert await world.claimed(ONE, THREE) == [
        (ONE, Urgency.ASKED),
        (TWO, Urgency.CHANGED),
        (THREE, Urgency.TOP),
    ]


async def test_what_is_asked_for_may_be_left_to_a_later_claim(world: World) -> None:
    await world.wanted.ask([TWO], Urgency.CHANGED)
    await world.wanted.ask([ONE], Urgency.ASKED)
    await asyncio.sleep(DEBOUNCED_S)
    others = await world.wanted.claim(world.held, plan(THREE), 5, of=Of.OTHERS)
    assert [(claim.chat, claim.urgency) for claim in others] == [(TWO, Urgency.CHANGED), (THREE, Urgency.TOP)]
    assert await world.claimed() == [(ONE, Urgency.ASKED)]


async def test_no_more_are_claimed_than_there_is_room_for(world: World) -> None:
    await world.wanted.ask([ONE, TWO], Urgency.ASKED)
    first = await world.claimed(THREE, most=1)
    second = await world.claimed(THREE, most=2)
    assert len(first) == 1
    assert {chat for chat, _ in first + second} == {ONE, TWO, THREE}
    assert await world.claimed(ONE, TWO, THREE, most=0) == []


async def test_what_has_changed_waits_from_the_first_change_on(world: World) -> None:
    began = time.monotonic()
    await world.wanted.ask([ONE], Urgency.CHANGED)
    claims: list[tuple[ChatId, Urgency]] = []
    while not claims and time.monotonic() - began < 5:
        await world.wanted.ask([ONE], Urgency.CHANGED)
        claims = await world.claimed()
        await asyncio.sleep(0.01)
    assert claims == [(ONE, Urgency.CHANGED)]
    assert 0.14 <= time.monotonic() - began < 2


async def test_a_chat_that_is_being_read_is_not_claimed_again_whoever_wants_it(world: World) -> None:
    await world.wanted.ask([ONE], Urgency.ASKED)
    assert await world.claimed() == [(ONE, Urgency.ASKED)]
    await world.wanted.ask([ONE], Urgency.ASKED)
    await world.wanted.ask([ONE], Urgency.CHANGED)
    await asyncio.sleep(DEBOUNCED_S)
    assert await world.claimed(ONE) == []


@pytest.mark.parametrize("took_s", [0.0, NEW_ENOUGH_S / 2])
async def test_what_is_asked_for_is_over_with_a_read_that_is_under_way(world: World, took_s: float) -> None:
    await world.claimed(ONE)
    await world.wanted.ask([ONE], Urgency.ASKED)
    await world.wanted.finish([world.claim(ONE, Urgency.TOP)], took_s=took_s)
    assert await world.claimed() == []


async def test_what_is_asked_for_is_not_over_with_a_read_that_is_too_old_for_it(world: World) -> None:
    await world.claimed(ONE)
    await world.wanted.ask([ONE], Urgency.ASKED)
    await world.wanted.finish([world.claim(ONE, Urgency.TOP)], took_s=NEW_ENOUGH_S + 60.0)
    assert await world.claimed() == [(ONE, Urgency.ASKED)]


async def test_of_several_who_ask_during_a_read_the_last_decides_whether_it_is_too_old(world: World) -> None:
    await world.claimed(ONE)
    await world.wanted.ask([ONE], Urgency.ASKED)
    await asyncio.sleep(2.0)
    await world.wanted.ask([ONE], Urgency.ASKED)
    await world.wanted.finish([world.claim(ONE, Urgency.TOP)], took_s=NEW_ENOUGH_S + 1.0)
    assert await world.claimed() == [(ONE, Urgency.ASKED)]


async def test_what_changes_during_a_read_is_read_again(world: World) -> None:
    await world.wanted.ask([ONE], Urgency.CHANGED)
    await asyncio.sleep(DEBOUNCED_S)
    assert await world.claimed() == [(ONE, Urgency.CHANGED)]
    await world.wanted.ask([ONE], Urgency.CHANGED)
    await world.wanted.finish([world.claim(ONE, Urgency.CHANGED)])
    await asyncio.sleep(DEBOUNCED_S)
    assert await world.claimed() == [(ONE, Urgency.CHANGED)]


async def test_one_read_is_enough_for_all_who_wanted_it_before(world: World) -> None:
    await world.wanted.ask([ONE], Urgency.CHANGED)
    await world.wanted.ask([ONE], Urgency.ASKED)
    assert await world.claimed(ONE) == [(ONE, Urgency.ASKED)]
    await world.wanted.finish([world.claim(ONE)])
    await asyncio.sleep(DEBOUNCED_S)
    assert await world.claimed() == []


@pytest.mark.parametrize("urgency", [Urgency.ASKED, Urgency.CHANGED])
async def test_a_read_that_brought_nothing_is_wanted_again_after_a_while(world: World, urgency: Urgency) -> None:
    await world.wanted.ask([ONE, TWO], urgency)
    await asyncio.sleep(DEBOUNCED_S)
    assert sorted(await world.claimed()) == [(ONE, urgency), (TWO, urgency)]
    await world.wanted.finish([world.claim(ONE, urgency), world.claim(TWO, urgency)], again={ONE: 0.5})
    assert await world.claimed() == []
    await asyncio.sleep(AGAIN_S)
    assert await world.claimed() == [(ONE, urgency)]


async def test_who_asks_anew_does_not_wait_because_of_an_earlier_failure(world: World) -> None:
    await world.wanted.ask([ONE], Urgency.ASKED)
    await world.claimed()
    await world.wanted.finish([world.claim(ONE)], again={ONE: 0.5})
    await world.wanted.ask([ONE], Urgency.ASKED)
    assert await world.claimed() == [(ONE, Urgency.ASKED)]


async def test_a_planned_read_that_brought_nothing_is_left_to_the_plan(world: World) -> None:
    assert await world.claimed(ONE) == [(ONE, Urgency.TOP)]
    await world.wanted.finish([world.claim(ONE, Urgency.TOP)], again={ONE: 0.5})
    await asyncio.sleep(AGAIN_S)
    assert await world.claimed() == []
    assert await world.claimed(ONE) == [(ONE, Urgency.TOP)]


async def test_chats_of_other_slots_are_left_to_their_holders(world: World) -> None:
    await world.wanted.ask([ONE, TWO], Urgency.ASKED)
    world.held = {slot_of(TWO): world.held[slot_of(TWO)]}
    assert slot_of(ONE) != slot_of(TWO)
    assert await world.claimed(ONE) == [(TWO, Urgency.ASKED)]


async def test_nothing_is_claimed_without_a_slot_and_nothing_finished_without_a_claim(world: World) -> None:
    await world.wanted.ask([ONE], Urgency.ASKED)
    await world.wanted.finish([])
    await world.wanted.ask([], Urgency.ASKED)
    assert await world.wanted.claim({}, plan(ONE), 5) == []
    assert await world.claimed() == [(ONE, Urgency.ASKED)]


async def test_taking_over_leaves_alone_what_this_replica_reads(world: World) -> None:
    await world.wanted.ask([ONE], Urgency.ASKED)
    await world.claimed()
    await world.wanted.take_over(world.held)
    assert await world.claimed(ONE) == []


async def test_what_is_asked_for_alone_is_claimed_where_there_is_room_for_nothing_else(world: World) -> None:
    await world.wanted.ask([TWO], Urgency.CHANGED)
    await asyncio.sleep(DEBOUNCED_S)
    assert await world.wanted.claim(world.held, {}, 5, of=Of.ASKED) == []
    await world.wanted.ask([ONE], Urgency.ASKED)
    assert await world.wanted.claim(world.held, {}, 5, of=Of.ASKED) == [world.claim(ONE)]
    assert await world.claimed() == [(TWO, Urgency.CHANGED)]


async def test_a_claim_says_for_how_long_it_has_been_due(world: World) -> None:
    await world.wanted.ask([ONE], Urgency.ASKED)
    await world.wanted.ask([TWO], Urgency.CHANGED)
    await asyncio.sleep(DEBOUNCED_S + 0.3)
    asked, changed, planned = await world.wanted.claim(world.held, plan(THREE), 5)
    assert 0.45 <= asked.waited_s < 5
    assert -0.01 <= asked.waited_s - changed.waited_s - DEBOUNCE.wait_ms / 1_000 < 1, "it was asked for later, too"
    assert planned.waited_s == 0


async def test_what_fails_for_so_long_that_nobody_waits_any_more_is_asked_for_no_longer(world: World) -> None:
    for urgency in (Urgency.ASKED, Urgency.CHANGED):
        await world.wanted.ask([ONE, TWO], urgency)
    await asyncio.sleep(DEBOUNCED_S)
    claims = await world.wanted.claim(world.held, {}, 5)
    assert len(claims) == 2
    await world.wanted.finish(claims, again={ONE: 0.2, TWO: PATIENCE_S + 1})
    await asyncio.sleep(0.3)
    assert await world.claimed() == [(ONE, Urgency.ASKED)], "and what has changed waits as long as it is told"
