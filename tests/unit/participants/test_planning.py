"""Which chats of the held slots are due, and since when, whatever the wall clock does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.participants.readers import MemoryCatalogue, entry
from tests.unit.participants.story import RULES

from chatferry.participants.domain.catalogue import SLOTS, newest_epochs, slot_of
from chatferry.participants.domain.counts import ChatId, Count, Mark, Stamp
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.flow.parts import Trust
from chatferry.participants.flow.planning import Planner
from chatferry.participants.view import View

HELD = dict.fromkeys(range(SLOTS), 1)
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class WallClock:
    """Its wall can be set; what has passed cannot."""

    seconds: float = 0.0
    set_by: float = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds + self.set_by)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


async def test_a_wall_clock_set_back_keeps_no_new_chat_from_its_read() -> None:
    clock = WallClock()
    view, chats = View(clock), MemoryCatalogue([entry(1, max_chat=-1)])
    planner = Planner(view, Trust(events_on=True), RULES, 0)
    await view.follow(chats)
    assert await planner.planned(HELD, clock, 5) == [(ChatId(1), Urgency.SAFETY)]
    clock.set_by = -3_600
    chats.entries.append(entry(2, max_chat=-2))
    await view.follow(chats)
    clock.seconds += 6
    assert (ChatId(2), Urgency.SAFETY) in await planner.planned(HELD, clock, 5)


async def test_a_count_that_is_read_and_moved_again_and_again_is_left_to_its_events() -> None:
    clock = WallClock()
    view = View(clock)
    planner = Planner(view, Trust(events_on=True), RULES, 0)
    for _ in range(20):
        read_ms = int(clock.now().timestamp() * 1_000) - 500
        moved = Count(5, Mark.PROVISIONAL, Stamp(1, read_ms))
        chats = MemoryCatalogue([entry(1, max_chat=-1, counted=moved)])
        view._since = 0
        await view.follow(chats)
        assert await planner.planned(HELD, clock, 5) == []
        clock.seconds += 4
    clock.seconds += 5
    assert await planner.planned(HELD, clock, 5) == [], "it is seen for the first time"
    clock.seconds += 11
    assert await planner.planned(HELD, clock, 5) == [(ChatId(1), Urgency.CHANGED)]


@pytest.mark.parametrize(
    ("told_ms", "planned"), [(None, [(ChatId(1), Urgency.CHANGED)]), (1_000, [])], ids=["by an event", "by a read"]
)
async def test_a_count_that_an_event_has_frozen_is_read_though_the_wish_for_it_was_lost(
    told_ms: int | None, planned: list[tuple[ChatId, Urgency]]
) -> None:
    clock = WallClock()
    view = View(clock)
    planner = Planner(view, Trust(events_on=True), RULES, 0)
    frozen = Count(5, Mark.FROZEN, Stamp(1, int(clock.now().timestamp() * 1_000)), told_ms)
    await view.follow(MemoryCatalogue([entry(1, max_chat=-1, counted=frozen)]))
    assert await planner.planned(HELD, clock, 5) == []
    clock.seconds += 11
    assert await planner.planned(HELD, clock, 5) == planned


async def test_chats_that_take_turns_in_being_active_cost_no_more_reads_than_the_most_active_of_an_interval() -> None:
    clock = WallClock()
    view = View(clock)
    planner = Planner(view, Trust(events_on=True), RULES, 5)
    counted = Count(5, Mark.CONFIRMED, Stamp(1, int((START - timedelta(hours=1)).timestamp() * 1_000)))
    read: set[ChatId] = set()
    for look in range(100):
        now_ms = int(clock.now().timestamp() * 1_000)
        active = {look % 10 * 5 + n for n in range(1, 6)}
        view._since = 0
        await view.follow(
            MemoryCatalogue(
                [
                    replace(one, trusted=True, activity_ms=now_ms if one.id in active else now_ms - 60_000)
                    for one in (entry(n, max_chat=-n, counted=counted) for n in range(1, 51))
                ]
            )
        )
        read |= {chat for chat, urgency in await planner.planned(HELD, clock, 50) if urgency is Urgency.TOP}
        clock.seconds += 8
    assert read == {1, 2, 3, 4, 5}
    clock.seconds += 200
    assert {chat for chat, _ in await planner.planned(HELD, clock, 50)} == {46, 47, 48, 49, 50}, "who is active now"


async def test_during_a_look_at_many_chats_others_have_their_turns_and_what_they_read_is_not_read_again() -> None:
    clock = WallClock()
    view = View(clock)
    planner = Planner(view, Trust(events_on=True), RULES, 0)
    await view.follow(MemoryCatalogue([entry(n, max_chat=-n) for n in range(1, 2_001)]))
    look = asyncio.create_task(planner.planned(HELD, clock, 5_000))
    await asyncio.sleep(0)
    assert not look.done()
    read = Count(5, Mark.CONFIRMED, Stamp(1, int(clock.now().timestamp() * 1_000)))
    view.learn(replace(entry(2_000, max_chat=-2_000, counted=read), trusted=True))
    planned = {chat for chat, _ in await look}
    assert ChatId(1_999) in planned
    assert ChatId(2_000) not in planned


async def test_in_the_nights_pass_the_most_active_chats_come_first() -> None:
    clock = WallClock()
    view = View(clock)
    planner = Planner(view, Trust(events_on=True), RULES, 3)
    long_ago = Count(5, Mark.CONFIRMED, Stamp(1, int((START - timedelta(hours=10)).timestamp() * 1_000)))
    most_active = {7, 23, 41}
    entries = [
        replace(entry(n, max_chat=-n, counted=long_ago), trusted=True, activity_ms=int(n in most_active))
        for n in range(1, 51)
    ]
    await view.follow(MemoryCatalogue(entries))
    planned = await planner.planned(HELD, clock, 50)
    assert {chat for chat, _ in planned[:3]} == most_active
    assert {urgency for _, urgency in planned} == {Urgency.NIGHTLY}


async def test_the_nights_pass_reads_first_what_was_read_first_the_night_before() -> None:
    clock = WallClock()
    view = View(clock)
    planner = Planner(view, Trust(events_on=True), RULES, 0)
    begun_ms = int((START - timedelta(hours=33)).timestamp() * 1_000)
    order = [n * 7 % 51 for n in range(1, 51)]
    read = {n: Count(5, Mark.CONFIRMED, Stamp(1, begun_ms + place * 50)) for place, n in enumerate(order)}
    entries = [replace(entry(n, max_chat=-n, counted=read[n]), trusted=True) for n in sorted(order)]
    await view.follow(MemoryCatalogue(entries))
    planned = await planner.planned(HELD, clock, 50)
    assert [chat for chat, _ in planned] == order


def test_of_each_slot_the_newest_count_tells_the_epoch() -> None:
    same = [n for n in range(1, 2_000) if slot_of(ChatId(n)) == slot_of(ChatId(1))][:2]
    counted = {same[0]: Count(1, Mark.CONFIRMED, Stamp(700, 5)), same[1]: Count(1, Mark.CONFIRMED, Stamp(800, 4))}
    other = next(n for n in range(2, 99) if slot_of(ChatId(n)) != slot_of(ChatId(1)))
    entries = [*(entry(n, max_chat=-n, counted=count) for n, count in counted.items()), entry(other, max_chat=-other)]
    assert newest_epochs(entries) == {slot_of(ChatId(1)): 800}
