"""The counts in a real Redis: what others read there, how long it stays, and what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import orjson
import pytest
from tests.contract.participants.redis_ports import Replica, joined, replicas_of

from chatferry.participants.adapters.redis_base import Keys
from chatferry.participants.domain.counts import ChatId, Count, Mark, Stamp, State, hinted, state_of
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
CHAT = ChatId(7)
HOUR_MS = 3_600_000


@pytest.fixture
async def replica(stack: Addresses) -> AsyncIterator[Replica]:
    async with replicas_of(stack.redis) as [one]:
        yield one


@pytest.fixture
async def hasty(stack: Addresses) -> AsyncIterator[Replica]:
    async with replicas_of(stack.redis, ttl_s=0.2) as [one]:
        yield one


def now_ms() -> int:
    return int(time.time() * 1_000)


def read(count: int, at_ms: int, epoch: int = 1) -> Count:
    return Count(count, Mark.CONFIRMED, Stamp(epoch, at_ms))


async def test_the_value_is_the_one_that_the_requirement_names(replica: Replica) -> None:
    moment = 1_736_935_200_999
    await replica.counts.write(CHAT, read(150, moment))
    key = f"{replica.keys.prefix}chat_participants:7"
    raw = await replica.redis.get(key)
    assert raw is not None
    assert orjson.loads(raw) == {"count": 150, "updated_at": "2025-01-15T10:00:00Z"}
    assert HOUR_MS * 0.99 < await replica.redis.pttl(key) <= HOUR_MS * 1.1


async def test_the_value_of_a_refused_read_is_as_old_as_its_count_and_has_no_time_where_max_has_told_none(
    replica: Replica,
) -> None:
    known, unknown = Stamp(1, 1_736_940_000_000), Stamp(2, 1_736_940_000_001)
    key = f"{replica.keys.prefix}chat_participants:7"
    await replica.counts.write(CHAT, Count(150, Mark.DENIED, known, 1_736_935_200_999))
    assert orjson.loads(await replica.redis.get(key) or b"") == {"count": 150, "updated_at": "2025-01-15T10:00:00Z"}
    await replica.counts.write(CHAT, Count(4, Mark.DENIED, unknown, 0))
    assert orjson.loads(await replica.redis.get(key) or b"") == {"count": 4, "updated_at": None}


async def test_counts_written_together_do_not_expire_together(replica: Replica) -> None:
    chats = [ChatId(n) for n in range(1, 41)]
    for chat in chats:
        await replica.counts.write(chat, read(1, now_ms()))
    left = [await replica.redis.pttl(replica.keys.value(chat)) for chat in chats]
    assert max(left) - min(left) > HOUR_MS * 0.05


async def test_the_key_has_no_prefix_where_none_is_asked_for() -> None:
    assert Keys("demo").value(ChatId(-5)) == "chat_participants:-5"
    assert Keys("demo").own("x") == "demo:participants:x"


async def test_a_late_older_read_is_refused_also_when_the_value_has_expired(hasty: Replica) -> None:
    begun = now_ms()
    await hasty.counts.write(CHAT, read(150, begun))
    await asyncio.sleep(0.3)
    assert await hasty.redis.get(hasty.keys.value(CHAT)) is None
    assert not await hasty.counts.write(CHAT, read(99, begun - 1))
    assert await hasty.redis.get(hasty.keys.value(CHAT)) is None
    week_ms = 7 * 24 * HOUR_MS
    assert week_ms * 0.99 < await hasty.redis.pttl(hasty.keys.own("state:7")) <= week_ms


async def test_a_count_whose_time_is_over_is_told_as_stale(hasty: Replica) -> None:
    await hasty.counts.write(CHAT, read(150, now_ms()))
    await asyncio.sleep(0.3)
    known = (await hasty.counts.load([CHAT]))[CHAT]
    assert state_of(known, now_ms(), 200) is State.STALE


async def test_a_value_that_somebody_deleted_is_not_known(replica: Replica) -> None:
    await replica.counts.write(CHAT, read(150, now_ms()))
    await replica.redis.delete(replica.keys.value(CHAT))
    assert await replica.counts.load([CHAT]) == {}


async def test_an_event_leaves_the_value_its_time(replica: Replica) -> None:
    begun = now_ms()
    await replica.counts.write(CHAT, read(150, begun))
    await replica.redis.pexpire(replica.keys.value(CHAT), 60_000)
    assert await replica.counts.hint(CHAT, read(150, begun), joined(begun + 1)) is not None
    value = await replica.redis.get(replica.keys.value(CHAT))
    assert value is not None
    assert orjson.loads(value)["count"] == 151
    assert 50_000 < await replica.redis.pttl(replica.keys.value(CHAT)) <= 60_000
    [event] = [key async for key in replica.redis.scan_iter(replica.keys.own("event:*"), count=1_000)]
    assert 8.9 * HOUR_MS < await replica.redis.pttl(event) <= 9 * HOUR_MS


async def test_an_event_gives_an_expired_count_no_new_time(hasty: Replica) -> None:
    begun = now_ms()
    await hasty.counts.write(CHAT, read(150, begun))
    await asyncio.sleep(0.3)
    moved = await hasty.counts.hint(CHAT, read(150, begun), joined(begun + 1))
    assert moved == Count(151, Mark.PROVISIONAL, Stamp(1, begun))
    assert await hasty.redis.get(hasty.keys.value(CHAT)) is None
    assert await hasty.counts.load([CHAT]) == {CHAT: moved}


async def test_the_same_event_on_two_replicas_at_once_moves_a_count_once(stack: Addresses) -> None:
    async with replicas_of(stack.redis, many=3) as replicas:
        begun = now_ms()
        await replicas[0].counts.write(CHAT, read(150, begun))
        event = joined(begun + 1)
        moved = await asyncio.gather(*(one.counts.hint(CHAT, read(150, begun), event) for one in replicas * 5))
        assert [one.count for one in moved if one is not None] == [151]


async def test_what_is_written_back_has_what_is_left_of_its_time_and_replaces_nothing_newer(replica: Replica) -> None:
    now = now_ms()
    other, old = ChatId(8), ChatId(9)
    await replica.counts.write(other, read(5, now))
    half = read(150, now - HOUR_MS // 2)
    await replica.counts.restore([(CHAT, half), (other, read(4, now - 1)), (old, read(3, now - 2 * HOUR_MS))])
    assert await replica.counts.load([CHAT, other, old]) == {
        CHAT: half,
        other: read(5, now),
        old: read(3, now - 2 * HOUR_MS),
    }
    assert 0.45 * HOUR_MS < await replica.redis.pttl(replica.keys.value(CHAT)) <= 0.5 * HOUR_MS
    assert await replica.redis.get(replica.keys.value(old)) is None


@pytest.mark.parametrize("mark", [Mark.PROVISIONAL, Mark.FROZEN])
async def test_what_is_written_back_is_refused_by_what_events_have_made_of_the_same_read_alone(
    replica: Replica, mark: Mark
) -> None:
    now = now_ms()
    confirmed, moved = read(10, now), Count(11, mark, Stamp(1, now))
    await replica.counts.write(CHAT, confirmed)
    await replica.counts.restore([(CHAT, moved)])
    assert await replica.counts.load([CHAT]) == {CHAT: moved}
    await replica.counts.restore([(CHAT, confirmed)])
    assert await replica.counts.load([CHAT]) == {CHAT: moved}


async def test_of_what_events_have_made_of_the_same_read_the_one_that_has_seen_more_of_them_stays(
    replica: Replica,
) -> None:
    now = now_ms()
    await replica.counts.write(CHAT, read(10, now))
    once = await replica.counts.hint(CHAT, read(10, now), joined(now + 5))
    assert once is not None
    twice = hinted(once, 1, now + 6)
    assert twice is not None
    await replica.counts.restore([(CHAT, twice)])
    assert await replica.counts.load([CHAT]) == {CHAT: twice}
    # A replica that has heard of the first event alone brings its count last.
    await replica.counts.restore([(CHAT, once)])
    assert await replica.counts.load([CHAT]) == {CHAT: twice}


async def test_a_state_that_was_written_before_moves_were_counted_has_none(replica: Replica) -> None:
    now = now_ms()
    await replica.counts.write(CHAT, read(10, now))
    await replica.redis.hdel(replica.keys.own(f"state:{CHAT}"), "moves")
    assert (await replica.counts.load([CHAT]))[CHAT].moves == 0
    moved = await replica.counts.hint(CHAT, read(10, now), joined(now + 5))
    assert moved is not None
    assert (moved.count, moved.moves) == (11, 1)


async def test_a_page_of_fifty_costs_one_round_trip_and_a_millisecond_of_cpu_at_most(replica: Replica) -> None:
    chats = [ChatId(n) for n in range(1, 51)]
    for chat in chats:
        await replica.counts.write(chat, read(chat, now_ms()))
    assert len(await replica.counts.load(chats)) == 50
    calls: list[object] = []
    sent = replica.redis.execute_command

    async def counted(*args: object, **options: object) -> object:
        calls.append(args[0])
        return await sent(*args, **options)  # type: ignore[no-untyped-call]

    replica.redis.execute_command = counted  # type: ignore[method-assign]
    await replica.counts.load(chats)
    replica.redis.execute_command = sent  # type: ignore[method-assign]
    assert calls == ["EVALSHA"]
    best = 1.0
    for _ in range(5):
        began = time.process_time()
        for _ in range(100):
            await replica.counts.load(chats)
        best = min(best, (time.process_time() - began) / 100)
    print(f"load of 50: {best * 1_000:.3f} ms of CPU")
    assert best <= 0.001
