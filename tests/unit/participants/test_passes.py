"""The passes over the most active chats: who is read in them, by whom, and what that costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from tests.unit.participants.readers import MemoryCatalogue, entry
from tests.unit.participants.story import RULES, Story
from tests.unit.participants.test_planning import WallClock

from chatferry.common.errors import OutageError
from chatferry.participants.domain.catalogue import SLOTS, Entry
from chatferry.participants.domain.counts import ChatId, Count, Mark, MaxChatId, Stamp
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.domain.updates import read_update
from chatferry.participants.flow.parts import Trust
from chatferry.participants.flow.planning import Planner
from chatferry.participants.view import View

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ALL = frozenset(range(SLOTS))


def read_at(seconds: float) -> Count:
    """A count that was read so long after noon."""
    return Count(5, Mark.CONFIRMED, Stamp(1, int((NOON + timedelta(seconds=seconds)).timestamp() * 1_000)))


def active(number: int, at: int, read_s: float) -> Entry:
    """A chat whose newest event is the `at`th of all; its events are told."""
    known = entry(number, max_chat=-number, counted=read_at(read_s), activity_ms=at)
    return replace(known, trusted=True)


class Replica:
    """One that reads whatever it plans for its slots, at once, and tells the others of it."""

    def __init__(self, clock: WallClock, slots: Iterable[int] = ALL, top_n: int = 5) -> None:
        self.clock, self.held = clock, dict.fromkeys(slots, 1)
        self.view = View(clock)
        self.planner = Planner(self.view, Trust(events_on=True), RULES, top_n)
        self.others: list[Replica] = []

    async def knows(self, entries: Iterable[Entry]) -> None:
        self.view._since = 0
        await self.view.follow(MemoryCatalogue(list(entries)))

    def reads(self, chat: int) -> None:
        for replica in (self, *self.others):
            known = replica.view.entry(ChatId(chat))
            assert known is not None
            replica.view.learn(replace(known, counted=read_at(self.clock.seconds)))

    async def turn(self) -> set[int]:
        planned = [chat for chat, _ in await self.planner.planned(self.held, self.clock, 50)]
        for chat in planned:
            self.reads(chat)
        return set(planned)


async def test_in_a_pass_the_most_active_are_read_and_of_these_none_that_was_read_since_the_pass_before() -> None:
    clock = WallClock(seconds=899)
    replica = Replica(clock)
    confirmed = {3: 500.0, 5: 100.0}
    await replica.knows(active(n, at=-n, read_s=confirmed.get(n, 1.0)) for n in range(1, 21))
    assert await replica.turn() == set()
    clock.seconds = 900
    assert await replica.turn() == {1, 2, 4}
    clock.seconds = 906
    assert await replica.turn() == set(), "once a pass"


async def test_who_is_active_when_the_pass_begins_is_chosen_not_who_was_at_the_last_look() -> None:
    clock = WallClock(seconds=899)
    replica = Replica(clock)
    await replica.knows(active(n, at=-n, read_s=1.0) for n in range(1, 21))
    await replica.turn()
    await replica.knows(active(n, at=n, read_s=1.0) for n in range(1, 21))
    clock.seconds = 900
    assert await replica.turn() == {16, 17, 18, 19, 20}


async def test_a_chat_that_stays_active_and_silent_is_read_in_every_pass() -> None:
    clock = WallClock()
    replica = Replica(clock)
    await replica.knows(active(n, at=-n, read_s=-1_000.0) for n in range(1, 21))
    read = []
    for _ in range(4 * 900):
        read += [(clock.seconds, chat) for chat in await replica.turn()]
        clock.seconds += 1
    assert [at for at, chat in read if chat == 1] == [0, 900, 1_800, 2_700]
    assert len(read) == 4 * 5


async def test_chats_that_the_bot_is_out_of_or_may_not_read_take_nobodys_place_among_the_most_active() -> None:
    clock = WallClock(seconds=899)
    replica = Replica(clock)
    marks = {1: Mark.FROZEN, 3: Mark.DENIED}
    chats = [active(n, at=-n, read_s=1.0) for n in range(1, 21)]
    await replica.knows(
        replace(one, counted=replace(one.count, mark=marks.get(one.id, Mark.CONFIRMED))) for one in chats
    )
    await replica.turn()
    clock.seconds = 900
    assert await replica.turn() == {2, 4, 5, 6, 7}


async def test_replicas_that_share_the_slots_read_in_one_pass_what_one_alone_would_have() -> None:
    clock = WallClock(seconds=899)
    even, odd = Replica(clock, range(0, SLOTS, 2)), Replica(clock, range(1, SLOTS, 2))
    for replica in (even, odd):
        await replica.knows(active(n, at=-n, read_s=1.0) for n in range(1, 21))
        await replica.turn()
    clock.seconds = 900
    read = await even.turn(), await odd.turn()
    assert read[0] | read[1] == {1, 2, 3, 4, 5}
    assert not read[0] & read[1]


@pytest.mark.parametrize("just_begun", [False, True])
async def test_who_takes_slots_over_within_an_interval_reads_what_the_pass_has_not_and_nothing_twice(
    *, just_begun: bool
) -> None:
    clock = WallClock(seconds=899)
    chats = [active(n, at=-n, read_s=1.0) for n in range(1, 21)]
    dying = Replica(clock)
    heir = Replica(clock, slots=())
    dying.others = [heir]
    for replica in (dying,) if just_begun else (dying, heir):
        await replica.knows(chats)
        await replica.turn()
    clock.seconds = 900
    planned = await dying.planner.planned(dying.held, clock, 3)
    if just_begun:
        await heir.knows(chats)
    for chat, _ in planned:
        dying.reads(chat)
    clock.seconds = 912
    heir.held = dict.fromkeys(ALL, 2)
    assert await heir.turn() == {1, 2, 3, 4, 5} - {chat for chat, _ in planned}
    clock.seconds = 1_799
    assert await heir.turn() == set()
    clock.seconds = 1_800
    assert await heir.turn() == {1, 2, 3, 4, 5}, "and none of them is left out the next time"


async def test_what_was_read_for_somebody_since_it_was_planned_is_not_read_again() -> None:
    clock = WallClock(seconds=899)
    replica = Replica(clock)
    await replica.knows(active(n, at=-n, read_s=1.0) for n in range(1, 21))
    await replica.turn()
    clock.seconds = 900
    assert await replica.planner.planned(replica.held, clock, 1) == [(ChatId(1), Urgency.TOP)]
    clock.seconds = 900.5
    replica.reads(2)
    assert await replica.turn() == {3, 4, 5}


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story()
    made.planner.top_n = 25
    yield made
    made.end()


def test_an_hour_of_a_hundred_chats_of_which_one_changes_a_minute_costs_about_a_hundred_calls(story: Story) -> None:
    chats = story.chats(*[20] * 100)
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    for minute in range(179):
        chat = chats[minute * 7_919 % 1_009 % 100]
        story.max.counts[MaxChatId(chat)] += 1
        at_ms = int(story.clock.now().timestamp() * 1_000)
        told = {"update_type": "user_added", "timestamp": at_ms, "chat_id": chat, "user": {"user_id": minute}}
        story.do(story.listener.apply([read_update(orjson.dumps(told))]))
        story.after(60)
    assert all(story.count(chat) == (story.max.counts[MaxChatId(chat)], "confirmed") for chat in chats)
    calls = sum(1 for at in story.max.called if at >= 3_600)
    assert 90 <= calls / 2 <= 110


def test_a_read_of_a_pass_is_late_since_the_pass_began(story: Story) -> None:
    story.chats(*[20] * 10)
    story.begin(story.reader.run(story.stopping))
    story.after(880)
    story.watch.took.clear()
    story.max.failing = lambda: OutageError("max", "MAX does not answer")
    story.after(60)
    story.max.failing = lambda: None
    story.after(60)
    assert len(story.watch.took) == 10
    assert all(40 <= seconds <= 100 for seconds in story.watch.took)


def test_a_replica_that_begins_within_an_interval_is_not_late_since_before_it_began() -> None:
    story = Story()
    story.planner.top_n = 5
    story.chats(*[20] * 10)
    story.after(700)
    story.begin(story.reader.run(story.stopping))
    story.after(30)
    assert max(story.watch.took) < 10
    story.end()


def test_a_chat_that_comes_when_fewer_are_active_than_may_be_is_not_late_since_before_it_came(story: Story) -> None:
    story.chats(*[20] * 3)
    story.begin(story.reader.run(story.stopping))
    story.after(600)
    story.watch.took.clear()
    story.max.counts[MaxChatId(-5)] = 7
    story.do(story.catalogue.arrived(MaxChatId(-5), "new"))
    story.do(story.view.follow(story.catalogue))
    story.after(20)
    assert [seconds < 10 for seconds in story.watch.took] == [True]
