"""The counts and the waiting readers of one process, and the switch between it and Redis."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.importer.fakes import FakeClock

from chatferry.common.errors import OutageError
from chatferry.participants.adapters.local import LocalCounts, LocalWaiting
from chatferry.participants.adapters.redis_layers import Switch
from chatferry.participants.domain.counts import ChatId, Count, Mark, MaxChatId, Stamp
from chatferry.participants.domain.updates import Effect, Update

CHATS = [ChatId(n) for n in range(1, 6)]


def read(count: int, started_ms: int = 100) -> Count:
    return Count(count, Mark.CONFIRMED, Stamp(1, started_ms))


async def test_the_process_keeps_no_more_counts_than_it_may() -> None:
    counts = LocalCounts(FakeClock(), most=3)
    for chat in CHATS:
        await counts.write(chat, read(chat))
    assert (await counts.load(CHATS)).keys() == set(CHATS[2:])


async def test_a_count_is_kept_for_a_week() -> None:
    clock = FakeClock()
    counts = LocalCounts(clock)
    await counts.write(CHATS[0], read(5))
    clock.seconds += 7 * 86_400 - 1
    assert not await counts.write(CHATS[0], read(4, 99))
    clock.seconds += 2
    assert await counts.load(CHATS) == {}


async def test_what_redis_says_replaces_nothing_newer() -> None:
    counts = LocalCounts(FakeClock())
    await counts.write(CHATS[0], read(5, 100))
    counts.learn({CHATS[0]: read(4, 99), CHATS[1]: read(1)})
    assert await counts.load(CHATS) == {CHATS[0]: read(5, 100), CHATS[1]: read(1)}
    provisional = Count(6, Mark.PROVISIONAL, Stamp(1, 100))
    counts.learn({CHATS[0]: provisional})
    assert (await counts.load(CHATS))[CHATS[0]] == provisional


@pytest.mark.parametrize("mark", [Mark.PROVISIONAL, Mark.FROZEN])
async def test_what_redis_knows_of_a_read_does_not_undo_what_events_have_made_of_it(mark: Mark) -> None:
    counts, moved = LocalCounts(FakeClock()), Count(11, mark, Stamp(1, 100))
    counts.learn({CHATS[0]: moved})
    counts.learn({CHATS[0]: read(10, 100)})
    assert await counts.load(CHATS) == {CHATS[0]: moved}


async def test_an_event_is_known_for_nine_hours() -> None:
    clock = FakeClock()
    counts = LocalCounts(clock)
    await counts.write(CHATS[0], read(5))
    event = Update("user_added", Effect.MOVES, 200, MaxChatId(-1), 1)
    assert await counts.hint(CHATS[0], read(5), event) is not None
    clock.seconds += 9 * 3_600 - 1
    assert await counts.hint(CHATS[0], read(5), event) is None


async def test_nobody_is_remembered_who_does_not_wait_any_more() -> None:
    waiting = LocalWaiting()
    assert await waiting.wait(CHATS, 100, 0.0) == set()
    with waiting.expecting(CHATS[:1], 100), waiting.expecting(CHATS[:2], 100):
        assert set(waiting.waited_for) == set(CHATS[:2])
    assert waiting.waited_for == []


class World:
    """A Redis that is there or not, and how often somebody looked."""

    def __init__(self) -> None:
        self.clock, self.there, self.looked, self.called, self.told = FakeClock(), True, 0, 0, list[bool]()
        self.switch = Switch(self.clock, self.probe, self.told.append)

    async def probe(self) -> None:
        self.looked += 1
        if not self.there:
            raise OutageError("redis", "away")

    async def call(self) -> str:
        self.called += 1
        if not self.there:
            raise OutageError("redis", "away")
        return "answer"


async def test_while_redis_is_away_it_is_looked_for_twice_a_second_at_most() -> None:
    world = World()
    assert await world.switch.attempt(world.call) == "answer"
    world.there = False
    for _ in range(100):
        with pytest.raises(OutageError):
            await world.switch.attempt(world.call)
        world.clock.seconds += 0.03
    assert world.called == 1 + 1, "the answer, and the failure that showed it"
    assert 4 <= world.looked <= 6
    assert world.switch.away


async def test_redis_is_back_once_it_has_answered_not_once_somebody_needed_no_answer() -> None:
    world = World()
    world.there = False
    with pytest.raises(OutageError):
        await world.switch.attempt(world.call)
    world.clock.seconds += 1

    async def nothing() -> str:
        return "no question"

    with pytest.raises(OutageError):
        await world.switch.attempt(nothing)
    assert world.told == [True]
    world.clock.seconds += 1
    world.there = True
    assert await world.switch.attempt(world.call) == "answer"
    assert world.switch.back.is_set()
    assert world.told == [True, False]


async def test_one_looks_for_redis_while_the_others_go_on_without() -> None:
    world = World()
    world.there = False
    with pytest.raises(OutageError):
        await world.switch.attempt(world.call)
    world.clock.seconds += 1
    looking = asyncio.Event()

    async def long() -> None:
        world.looked += 1
        await looking.wait()

    world.switch.probe = long
    first = asyncio.create_task(world.switch.attempt(world.call))
    await asyncio.sleep(0)
    for _ in range(5):
        with pytest.raises(OutageError):
            await world.switch.attempt(world.call)
    assert world.looked == 1
    world.there = True
    looking.set()
    assert await first == "answer"


async def test_a_look_that_takes_long_is_followed_by_half_a_second_in_which_nobody_waits() -> None:
    world = World()
    world.there = False
    with pytest.raises(OutageError):
        await world.switch.attempt(world.call)
    world.clock.seconds += 1

    async def hangs() -> None:
        world.looked += 1
        world.clock.seconds += 1
        raise OutageError("redis", "no answer")

    world.switch.probe = hangs
    for _ in range(5):
        with pytest.raises(OutageError):
            await world.switch.attempt(world.call)
        world.clock.seconds += 0.05
    assert world.looked == 1
