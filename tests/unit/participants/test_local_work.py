"""The calls, slots and wanted chats of one process."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.importer.fakes import FakeClock

from chatferry.participants.adapters.local_work import LATE_S, Allowance, LeaseRules, LocalBudget, LocalSlots
from chatferry.participants.domain.catalogue import SLOTS
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import Held

SECONDS = st.floats(0, 0.4)


def budget_of(clock: FakeClock, allowance: Allowance) -> LocalBudget:
    return LocalBudget(allowance, clock, random.Random(1))


def test_replicas_share_what_they_cannot_agree_on() -> None:
    share = Allowance(per_second=27, per_hour=97_200).share(3)
    assert (share.per_second, share.per_hour, share.limit) == (9, 32_400, 10)
    assert Allowance(per_second=2, per_hour=60).share(27).per_second == 1


@given(
    cap=st.integers(1, 27),
    steps=st.lists(st.tuples(SECONDS, st.sampled_from(list(Urgency)), st.integers(0, 30)), max_size=60),
)
def test_no_second_has_more_grants_than_the_share(cap: int, steps: list[tuple[float, Urgency, int]]) -> None:
    async def run() -> list[float]:
        clock, times = FakeClock(), list[float]()
        budget = budget_of(clock, Allowance(per_second=cap))
        for seconds, urgency, tries in steps:
            clock.seconds += seconds
            for _ in range(tries):
                grant = await budget.take(urgency)
                if grant.wait_s <= 0:
                    times.append(clock.seconds)
        return times

    times = asyncio.run(run())
    assert all(times[n + cap] - times[n] > 1.0 for n in range(len(times) - cap))


@example(replicas=3, steps=[(0.0, 30, LATE_S), (0.4, 0, 0.0), (0.4, 0, 0.0), (0.25, 30, 0.0)])
@given(
    replicas=st.integers(1, 27),
    steps=st.lists(st.tuples(SECONDS, st.integers(0, 30), st.floats(0, LATE_S)), max_size=60),
)
def test_no_second_has_more_calls_than_max_allows_though_each_is_made_as_late_as_it_may(
    replicas: int, steps: list[tuple[float, int, float]]
) -> None:
    async def run() -> list[float]:
        clock, calls = FakeClock(), list[float]()
        budget = budget_of(clock, Allowance().share(replicas))
        for seconds, tries, late_s in steps:
            clock.seconds += seconds
            for _ in range(tries):
                grant = await budget.take(Urgency.ASKED)
                if grant.wait_s <= 0:
                    calls.append(clock.seconds + late_s)
                    assert calls[-1] <= grant.until
        return sorted(calls)

    calls, most = asyncio.run(run()), 30 // replicas
    assert all(calls[n + most] - calls[n] > 1.0 for n in range(len(calls) - most))


async def test_the_wait_that_is_told_is_long_enough() -> None:
    clock = FakeClock()
    budget = budget_of(clock, Allowance(per_second=9))
    granted, asked = 0, 0
    while clock.seconds < 60:
        asked += 1
        grant = await budget.take(Urgency.SAFETY)
        clock.seconds += grant.wait_s
        granted += grant.wait_s <= 0
    assert granted >= 60 * 9 * 0.95
    assert asked <= granted * 2, "nobody who waits as told has to wait again"


async def test_the_rate_is_halved_and_raised_by_one_every_five_seconds() -> None:
    clock = FakeClock()
    clock.seconds = 1_000.0
    budget = budget_of(clock, Allowance(per_second=20))

    async def rate() -> int:
        clock.seconds += 1.1
        return [(await budget.take(Urgency.ASKED)).wait_s <= 0 for _ in range(30)].count(True)

    assert await rate() == 20
    for _ in range(3):
        await budget.refused(2.0)
    assert (await budget.take(Urgency.ASKED)).wait_s == pytest.approx(2.0)
    clock.seconds += 2.0
    assert await rate() == 10
    clock.seconds += 4.0
    assert await rate() == 11
    clock.seconds += 100.0
    assert await rate() == 20


async def test_pauses_double_up_to_a_minute_while_max_goes_on_refusing() -> None:
    clock = FakeClock()
    clock.seconds = 1_000.0
    budget = budget_of(clock, Allowance(per_second=20))
    pauses = []
    for _ in range(9):
        await budget.refused(None)
        pauses.append((await budget.take(Urgency.ASKED)).wait_s)
        clock.seconds += pauses[-1] + 1.1
    assert all(1.0 <= pause / min(60.0, 2.0**n) <= 1.26 for n, pause in enumerate(pauses)), pauses
    clock.seconds += 10
    await budget.refused(None)
    assert (await budget.take(Urgency.ASKED)).wait_s < 1.3


async def test_leave_that_was_not_used_is_somebody_elses() -> None:
    clock = FakeClock()
    budget = budget_of(clock, Allowance(per_second=1))
    assert (await budget.take(Urgency.ASKED)).wait_s == 0
    budget.give_back()
    assert (await budget.take(Urgency.ASKED)).wait_s == 0
    assert (await budget.take(Urgency.ASKED)).wait_s > 0


async def test_an_hour_has_no_more_calls_than_its_share() -> None:
    clock = FakeClock()
    budget = budget_of(clock, Allowance(per_second=9, per_hour=100))
    times = []
    while clock.seconds < 3 * 3_600:
        grant = await budget.take(Urgency.ASKED)
        if grant.wait_s <= 0:
            times.append(clock.seconds)
        clock.seconds += max(grant.wait_s, 0.01)
    assert all(times[n + 100] - times[n] >= 3_600 for n in range(len(times) - 100))
    assert len(times) >= 200


async def test_reads_go_on_by_the_clock_of_the_redis_that_has_gone() -> None:
    clock = FakeClock()
    budget = budget_of(clock, Allowance())
    own = budget.now_ms
    budget.set_clock(own + 5_000)
    clock.seconds += 1
    budget.set_clock(own + 6_200)
    clock.seconds += 1
    assert (await budget.take(Urgency.ASKED)).now_ms == own + 7_200


async def test_who_held_nothing_when_redis_went_holds_nothing() -> None:
    clock = FakeClock()
    slots = LocalSlots(LeaseRules(read_s=3.0), clock)
    slots.learn(Held({}))
    clock.seconds = 100.0
    assert (await slots.keep()).slots == {}, "others hold them, as far as it knows"
    slots.learn(Held({4: 9}, frozenset({4}), 3.0))
    assert await slots.keep() == Held({4: 9}, frozenset(), 107.0)
    await slots.leave()
    assert (await slots.keep()).slots == {}


async def test_who_never_saw_redis_holds_all_slots_after_fifteen_seconds_under_the_epochs_of_the_known_counts() -> None:
    clock = FakeClock()
    slots = LocalSlots(LeaseRules(read_s=3.0), clock, lambda: {4: 700, 9: 800})
    assert (await slots.keep()).slots == {}
    clock.seconds = 14.9
    assert (await slots.keep()).slots == {}, "Redis may come yet"
    clock.seconds = 15.0
    first = await slots.keep()
    assert first.slots == {**dict.fromkeys(range(SLOTS), 1), 4: 700, 9: 800}
    assert first.taken == frozenset(range(SLOTS))
    assert first.until == 22.0
    clock.seconds = 20.0
    again = await slots.keep()
    assert (again.slots, again.taken) == (first.slots, frozenset())
    slots.learn(Held({4: 900}))
    assert (await slots.keep()).slots == {4: 900}


async def test_who_has_left_takes_nothing() -> None:
    clock = FakeClock()
    slots = LocalSlots(LeaseRules(read_s=3.0), clock)
    await slots.keep()
    await slots.leave()
    clock.seconds = 100.0
    assert (await slots.keep()).slots == {}
