"""Counts while a real Redis is away, and what of them it has once it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.contract.participants.redis_ports import Replica, joined
from tests.integration.participants.redis_gone import until_back
from tests.integration.participants.test_redis_away import ONE, TWO, read, settled
from tests.integration.redis_of_ours import RedisOfOurs

from chatferry.common.errors import OutageError
from chatferry.participants.adapters.layered_counts import LayeredCounts
from chatferry.participants.adapters.redis_layers import ATTEMPT_EVERY_S
from chatferry.participants.domain.counts import ChatId, Count, Mark

pytestmark = pytest.mark.integration


async def test_counts_go_on_in_the_process_and_are_written_back(server: RedisOfOurs, replicas: list[Replica]) -> None:
    replica, other, _ = replicas
    async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as counts:
        before = read(10)
        during = read(20, before.stamp.started_ms + 10)
        await counts.write(ONE, before)
        await counts.write(TWO, read(5, before.stamp.started_ms))
        server.kill()
        assert await counts.load([ONE]) == {ONE: before}
        assert replica.quick.away
        assert await counts.write(TWO, during)
        moved = await counts.hint(TWO, during, joined(during.stamp.started_ms + 5))
        assert moved == Count(21, Mark.PROVISIONAL, during.stamp)
        server.start()
        await other.redis.connection_pool.disconnect()
        later = read(99, before.stamp.started_ms + 60_000)
        await other.counts.write(ONE, later)
        await until_back(replica)
        assert (await counts.load([TWO]))[TWO] == moved, "before it is written back, too"
        await settled(replica)
        assert await other.counts.load([ONE, TWO]) == {ONE: later, TWO: moved}


async def test_an_event_of_a_read_that_redis_still_has_is_not_undone_when_redis_returns(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica, other, _ = replicas
    async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as counts:
        known = read(10)
        for chat in (ONE, TWO):
            await counts.write(chat, known)
        assert await counts.hint(TWO, known, joined(known.stamp.started_ms + 3)) is not None
        shared = [counts.shared]
        replica.quick._fell()
        shared.append(counts.shared)
        moved = await counts.hint(ONE, known, joined(known.stamp.started_ms + 5))
        twice = await counts.hint(TWO, known, joined(known.stamp.started_ms + 5))
        assert moved == Count(11, Mark.PROVISIONAL, known.stamp)
        assert twice == Count(12, Mark.PROVISIONAL, known.stamp)
        await until_back(replica)
        assert await counts.load([ONE, TWO]) == {ONE: moved, TWO: twice}, "before it is written back, too"
        await settled(replica)
        assert [*shared, counts.shared] == [True, False, True]
        assert await other.counts.load([ONE, TWO]) == {ONE: moved, TWO: twice}


async def test_after_a_moment_only_what_was_written_meanwhile_is_written_back(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica, other, _ = replicas
    async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as counts:
        before = read(10)
        chats = [ChatId(n) for n in range(1, 101)]
        for chat in chats:
            await counts.write(chat, before)
        replica.quick._fell()
        during = read(20, before.stamp.started_ms + 10)
        await counts.write(TWO, during)
        written: list[ChatId] = []
        restore = replica.counts.restore

        async def noted(counts: Sequence[tuple[ChatId, Count]]) -> None:
            written.extend(chat for chat, _ in counts)
            await restore(counts)

        replica.counts.restore = noted  # type: ignore[method-assign]
        for forgotten, expected in ((False, [TWO]), (True, chats)):
            written.clear()
            if forgotten:
                await replica.redis.flushall()
                replica.quick._fell()
            await until_back(replica)
            await settled(replica)
            assert sorted(written) == expected
            assert (await other.counts.load([TWO]))[TWO] == during


async def test_an_answer_that_redis_gave_before_it_was_written_back_undoes_nothing(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as counts:
        known = read(10)
        await counts.write(ONE, known)
        replica.quick._fell()
        moved = await counts.hint(ONE, known, joined(known.stamp.started_ms + 5))
        load = replica.counts.load

        async def heard_late(chats: Sequence[ChatId]) -> dict[ChatId, Count]:
            found = await load(chats)
            if chats == [ONE, TWO]:
                await settled(replica)
            return found

        replica.counts.load = heard_late  # type: ignore[method-assign]
        await until_back(replica)
        assert replica.quick.back.is_set()
        assert await counts.load([ONE, TWO]) == {ONE: moved}


async def test_what_is_written_here_while_counts_are_written_back_is_written_back_after_them(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica, other, _ = replicas
    async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as layered:
        before = read(10)
        for chat in (ONE, TWO):
            await layered.write(chat, before)
        replica.quick._fell()
        during, later = read(20, before.stamp.started_ms + 10), read(30, before.stamp.started_ms + 20)
        await layered.write(ONE, during)
        restore, fell = replica.counts.restore, False

        async def falls_once(counts: Sequence[tuple[ChatId, Count]]) -> None:
            nonlocal fell
            await restore(counts)
            if not fell:
                fell = True
                replica.quick._fell()
                assert await layered.write(ONE, later)
                assert await layered.write(TWO, later)

        replica.counts.restore = falls_once  # type: ignore[method-assign]
        await until_back(replica)
        await settled(replica)
        assert fell
        assert await other.counts.load([ONE, TWO]) == {ONE: later, TWO: later}


async def test_what_is_forgotten_while_counts_are_written_back_stays_forgotten(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica, other, _ = replicas
    async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as layered:
        chats = [ChatId(n) for n in range(1, 301)]
        replica.quick._fell()
        for chat in chats:
            await layered.write(chat, read(10))
        restore, forgotten = replica.counts.restore, False

        async def last_is_forgotten(counts: Sequence[tuple[ChatId, Count]]) -> None:
            nonlocal forgotten
            await restore(counts)
            if not forgotten:
                forgotten = True
                await layered.forget(chats[-1:])

        replica.counts.restore = last_is_forgotten  # type: ignore[method-assign]
        await until_back(replica)
        await settled(replica)
        assert forgotten
        assert sorted(await other.counts.load(chats)) == chats[:-1]


async def test_an_answer_that_redis_gave_before_it_fell_undoes_nothing(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as layered:
        known = read(10)
        await layered.write(ONE, known)
        before = await layered.hint(ONE, known, joined(known.stamp.started_ms + 5))
        assert before is not None
        load = replica.counts.load

        async def overtaken(chats: Sequence[ChatId]) -> dict[ChatId, Count]:
            found = await load(chats)
            if chats == [ONE, TWO]:
                replica.quick._fell()
                await layered.hint(ONE, before, joined(known.stamp.started_ms + 6, user=2))
            return found

        replica.counts.load = overtaken  # type: ignore[method-assign]
        twice = Count(12, Mark.PROVISIONAL, known.stamp)
        assert await layered.load([ONE, TWO]) == {ONE: twice}
        assert await replica.local_counts.load([ONE]) == {ONE: twice}


async def test_an_event_after_the_return_follows_those_that_are_not_written_back_yet(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica, other, _ = replicas
    known = read(10)
    # Not begun: nothing is written back by itself.
    layered = LayeredCounts(replica.counts, replica.local_counts, replica.quick)
    for chat in (ONE, TWO):
        await layered.write(chat, known)
    replica.quick._fell()
    for chat in (ONE, TWO):
        assert await layered.hint(chat, known, joined(known.stamp.started_ms + 5)) is not None
    twice = Count(12, Mark.PROVISIONAL, known.stamp)
    await asyncio.sleep(ATTEMPT_EVERY_S)
    for chat in (ONE, TWO):
        # The first is what finds that Redis is back.
        assert await layered.hint(chat, known, joined(known.stamp.started_ms + 6, user=2)) == twice
    assert not replica.quick.away
    assert await other.counts.load([ONE, TWO]) == {ONE: twice, TWO: twice}
    async with layered:
        await settled(replica)
    assert await other.counts.load([ONE, TWO]) == {ONE: twice, TWO: twice}


async def test_what_was_asked_before_a_chat_was_forgotten_is_not_learned_after_it(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as layered:
        known = read(10)
        await replica.counts.write(ONE, known)
        load, write = replica.counts.load, replica.counts.write

        async def loaded(chats: Sequence[ChatId]) -> dict[ChatId, Count]:
            found = await load(chats)
            await layered.forget(chats)
            return found

        async def written(chat: ChatId, count: Count) -> bool:
            made = await write(chat, count)
            await layered.forget([chat])
            return made

        async def lost(chat: ChatId, count: Count) -> bool:
            await layered.forget([chat])
            raise OutageError("redis", f"{chat} is {count.count}, or not")

        replica.counts.load, replica.counts.write = loaded, written  # type: ignore[method-assign]
        await layered.load([ONE])
        await layered.write(ONE, known)
        assert replica.local_counts.known() == []
        replica.counts.write = lost  # type: ignore[method-assign]
        assert not await layered.write(ONE, known)
        assert replica.local_counts.known() == []


@pytest.mark.parametrize("falls", [True, False])
async def test_an_event_moves_a_count_once_also_where_redis_has_come_or_gone_in_between(
    server: RedisOfOurs, replicas: list[Replica], falls: bool
) -> None:
    replica, other, _ = replicas
    async with LayeredCounts(replica.counts, replica.local_counts, replica.quick) as layered:
        known = read(10)
        await layered.write(ONE, known)
        event = joined(known.stamp.started_ms + 5)
        if not falls:
            replica.quick._fell()
        moved = await layered.hint(ONE, known, event)
        if falls:
            replica.quick._fell()
        else:
            await until_back(replica)
        assert await layered.hint(ONE, known, event) is None
        await until_back(replica)
        await settled(replica)
        assert moved == Count(11, Mark.PROVISIONAL, known.stamp)
        assert await other.counts.load([ONE]) == await layered.load([ONE]) == {ONE: moved}


async def test_what_is_forgotten_of_one_chat_undoes_nothing_of_another(
    server: RedisOfOurs, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    layered = LayeredCounts(replica.counts, replica.local_counts, replica.quick)
    known = read(10)

    async def lost(chat: ChatId, count: Count) -> bool:
        await layered.forget([TWO])
        raise OutageError("redis", f"{chat} is {count.count}, or not")

    replica.counts.write = lost  # type: ignore[method-assign]
    assert await layered.write(ONE, known)
    assert await replica.local_counts.load([ONE]) == {ONE: known}
