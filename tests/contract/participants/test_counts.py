"""What every `Counts` has to do."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.contract.participants.redis_ports import joined, left, replicas_of

from chatferry.common.clock import SystemClock
from chatferry.participants.adapters.layered_counts import LayeredCounts
from chatferry.participants.adapters.local import LocalCounts
from chatferry.participants.domain.counts import ChatId, Count, Mark, MaxChatId, Stamp
from chatferry.participants.domain.updates import Effect, Update
from chatferry.participants.ports import Counts

CHAT, OTHER = ChatId(7), ChatId(-70_001_234_567_890)
NOW = int(SystemClock().now().timestamp() * 1_000)


@pytest.fixture(
    params=[
        "local",
        pytest.param("redis", marks=pytest.mark.integration),
        pytest.param("layered", marks=pytest.mark.integration),
    ]
)
async def counts(request: pytest.FixtureRequest) -> AsyncIterator[Counts]:
    if request.param == "local":
        yield LocalCounts(SystemClock())
        return
    async with replicas_of(request.getfixturevalue("stack").redis) as [replica]:
        if request.param == "redis":
            yield replica.counts
            return
        async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as layered:
            yield layered


def read(count: int, epoch: int = 1, at: int = NOW) -> Count:
    return Count(count, Mark.CONFIRMED, Stamp(epoch, at))


async def test_what_was_written_is_known_as_it_was_written(counts: Counts) -> None:
    assert await counts.write(CHAT, read(150))
    frozen = Count(3, Mark.FROZEN, Stamp(2, NOW))
    assert await counts.write(OTHER, frozen)
    assert await counts.load([CHAT, ChatId(8), OTHER]) == {CHAT: read(150), OTHER: frozen}
    assert await counts.load([]) == {}


@pytest.mark.parametrize("told_ms", [NOW - 5_000, 0], ids=["told", "never-told"])
async def test_a_count_that_a_read_did_not_bring_keeps_its_age_also_when_the_bot_is_put_out(
    counts: Counts, told_ms: int
) -> None:
    denied = Count(3, Mark.DENIED, Stamp(2, NOW), told_ms)
    assert await counts.write(CHAT, denied)
    assert await counts.load([CHAT]) == {CHAT: denied}
    out = Update("bot_removed", Effect.LEAVES, NOW + 1_000, MaxChatId(-5))
    frozen = Count(3, Mark.FROZEN, Stamp(2, NOW), told_ms)
    assert await counts.hint(CHAT, denied, out) == frozen
    assert await counts.load([CHAT]) == {CHAT: frozen}


@pytest.mark.parametrize(
    ("late", "replaces"),
    [
        (read(9, 5, NOW + 1), True),
        (read(9, 6, NOW - 1_000), True),
        (read(9, 5, NOW), False),
        (read(9, 5, NOW - 1), False),
        (read(9, 4, NOW + 60_000), False),
    ],
)
async def test_a_read_that_was_started_earlier_never_replaces_a_later_one(
    counts: Counts, late: Count, replaces: bool
) -> None:
    assert await counts.write(CHAT, read(150, 5))
    assert await counts.write(CHAT, late) is replaces
    assert await counts.load([CHAT]) == {CHAT: late if replaces else read(150, 5)}


async def test_in_whatever_order_reads_end_the_one_started_last_stays(counts: Counts) -> None:
    rng = random.Random()
    reads = [read(rng.randrange(1_000), rng.randrange(1, 4), NOW - rng.randrange(20)) for _ in range(30)]
    for one in reads:
        await counts.write(CHAT, one)
    last = max(one.stamp for one in reads)
    [kept] = (await counts.load([CHAT])).values()
    assert kept.stamp == last
    assert kept == next(one for one in reads if one.stamp == last)


async def test_an_event_moves_a_count_once(counts: Counts) -> None:
    known = read(150)
    await counts.write(CHAT, known)
    moved = Count(151, Mark.PROVISIONAL, known.stamp)
    assert await counts.hint(CHAT, known, joined(NOW + 5)) == moved
    assert await counts.hint(CHAT, moved, joined(NOW + 5)) is None
    assert await counts.load([CHAT]) == {CHAT: moved}
    again = Count(150, Mark.PROVISIONAL, known.stamp)
    assert await counts.hint(CHAT, known, left(NOW + 6)) == again, "the cache has a newer one than the caller"


async def test_of_one_read_the_count_that_more_events_have_moved_is_the_newer(counts: Counts) -> None:
    known = read(150)
    await counts.write(CHAT, known)
    once = await counts.hint(CHAT, known, joined(NOW + 5))
    twice = await counts.hint(CHAT, known, joined(NOW + 6, user=2))
    assert once is not None
    assert twice is not None
    assert [one.moves for one in (once, twice)] == [1, 2]
    assert (await counts.load([CHAT]))[CHAT].moves == 2
    assert not await counts.write(CHAT, once)
    # Whoever knows of more events than the cache goes on from those.
    more = replace(twice, count=160, moves=9)
    assert await counts.hint(CHAT, more, left(NOW + 7)) == replace(twice, count=159)
    assert (await counts.load([CHAT]))[CHAT].moves == 10
    assert await counts.write(CHAT, read(150, at=NOW + 8))
    assert (await counts.load([CHAT]))[CHAT].moves == 0


async def test_an_event_that_a_read_has_counted_already_moves_nothing(counts: Counts) -> None:
    await counts.write(CHAT, read(150))
    assert await counts.hint(CHAT, read(150), joined(NOW)) is None
    assert await counts.hint(CHAT, read(150), joined(NOW - 1)) is None
    assert await counts.load([CHAT]) == {CHAT: read(150)}


async def test_an_event_that_says_nothing_of_members_moves_nothing(counts: Counts) -> None:
    await counts.write(CHAT, read(150))
    renamed = Update("chat_title_changed", Effect.RENAMED, NOW + 5, None)
    assert await counts.hint(CHAT, read(150), renamed) is None


async def test_a_chat_that_the_bot_was_put_out_of_keeps_its_count_frozen(counts: Counts) -> None:
    await counts.write(CHAT, read(150))
    out = Update("bot_removed", Effect.LEAVES, NOW + 5, None)
    frozen = Count(150, Mark.FROZEN, read(150).stamp)
    assert await counts.hint(CHAT, read(150), out) == frozen
    assert await counts.load([CHAT]) == {CHAT: frozen}
    assert await counts.hint(CHAT, read(150), joined(NOW + 9)) is None
    late = Update("bot_removed", Effect.LEAVES, NOW - 5, None)
    assert await counts.hint(CHAT, read(150), late) is None


@pytest.mark.parametrize("mark", [Mark.STATIC, Mark.FROZEN, Mark.DENIED])
async def test_only_what_max_has_confirmed_is_moved(counts: Counts, mark: Mark) -> None:
    assert await counts.hint(CHAT, Count(4, mark, Stamp(1, NOW)), joined(NOW + 5)) is None
    assert await counts.load([CHAT]) == {}


async def test_what_the_caller_knows_stands_in_where_the_cache_knows_nothing_or_less(counts: Counts) -> None:
    assert await counts.hint(CHAT, read(10), joined(NOW + 5)) == Count(11, Mark.PROVISIONAL, Stamp(1, NOW))
    later = read(20, 2, NOW)
    moved = await counts.hint(CHAT, later, joined(NOW + 6))
    assert moved == Count(21, Mark.PROVISIONAL, later.stamp)
    assert await counts.load([CHAT]) == {CHAT: moved}


async def test_a_count_is_never_moved_below_nothing(counts: Counts) -> None:
    await counts.write(CHAT, read(1))
    for user in range(3):
        await counts.hint(CHAT, read(1), left(NOW + 5, user))
    [kept] = (await counts.load([CHAT])).values()
    assert kept.count == 0


async def test_a_read_ends_what_was_provisional(counts: Counts) -> None:
    await counts.write(CHAT, read(10))
    await counts.hint(CHAT, read(10), joined(NOW + 5))
    assert await counts.write(CHAT, read(12, 1, NOW + 10))
    assert await counts.hint(CHAT, read(12, 1, NOW + 10), joined(NOW + 5)) is None
    assert await counts.load([CHAT]) == {CHAT: read(12, 1, NOW + 10)}


async def test_what_is_forgotten_is_not_known_and_the_first_read_after_it_is_written_whatever_its_stamp(
    counts: Counts,
) -> None:
    await counts.write(CHAT, read(500, 9))
    await counts.hint(CHAT, read(500, 9), joined(NOW + 5))
    await counts.write(OTHER, read(3))
    await counts.forget([CHAT, ChatId(8)])
    await counts.forget([])
    assert await counts.load([CHAT, OTHER]) == {OTHER: read(3)}
    assert await counts.write(CHAT, read(7, 1))
    assert await counts.load([CHAT]) == {CHAT: read(7, 1)}


@pytest.mark.parametrize(
    ("mark", "moved"),
    [(Mark.PROVISIONAL, Count(12, Mark.PROVISIONAL, Stamp(1, NOW))), (Mark.FROZEN, None)],
)
async def test_what_events_have_made_of_a_read_stands_before_it_where_the_caller_alone_has_heard_of_them(
    counts: Counts, mark: Mark, moved: Count | None
) -> None:
    await counts.write(CHAT, read(10))
    assert await counts.hint(CHAT, Count(11, mark, Stamp(1, NOW)), joined(NOW + 9)) == moved
