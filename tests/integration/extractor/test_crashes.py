"""A process killed at any of its calls, and another one that goes on: the end is that of an undisturbed run."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import replace

import pytest
from tests.integration.extractor.conftest import small_portal
from tests.integration.extractor.crashing import Countdown, Killed, dying
from tests.integration.extractor.extractor_world import Sent, World, a_world, remembering

from chatferry.extractor.steps.parts import Parts
from chatferry.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
_CALLS = 80


async def killed_at(world: World, run: str, countdown: Countdown, sent: list[Sent]) -> None:
    def hook(parts: Parts) -> Parts:
        parts, keep = remembering(parts)
        sent.append(keep)
        return dying(parts, countdown)

    world.sizes = replace(world.sizes, batch_commands=8, page_size=5)
    with suppress(Killed):
        await world.drive(run, hook)
    assert countdown.dead, f"the run is over after {countdown.calls} calls"


async def gone_on(world: World, run: str, sent: list[Sent]) -> None:
    def hook(parts: Parts) -> Parts:
        parts, keep = remembering(parts)
        sent.append(keep)
        return parts

    document = await world.drive(run, hook)
    assert document["state"] == "completed"


def assert_sent_in_order(sent: list[Sent], stored: dict[int, dict[str, object]]) -> None:
    """Each process sends the messages of a chat in order of id, and every stored version was sent."""
    seen: set[str] = set()
    for one in sent:
        last: dict[bytes, int] = defaultdict(int)
        for batch in one.batches:
            for record in batch:
                head = dict(record.headers)
                seen.add(head["ce_id"].decode())
                if head["ce_type"] == b"chat_messages.extracted":
                    number = int(head["ce_subject"].decode().rpartition(":")[2])
                    assert number > last[record.key]
                    last[record.key] = number
    assert {f"{doc['_id']}@{doc['version']}" for doc in stored.values()} <= seen


@pytest.mark.parametrize(("at", "before"), [(at, at % 2 == 0) for at in range(3, _CALLS, 5)])
async def test_a_run_killed_at_any_call_is_gone_on_with(stack: Addresses, topics: str, at: int, before: bool) -> None:
    portal = small_portal(seed=at, chats=4, messages=90)
    async with a_world(stack, portal, topics_of=topics) as world:
        run, sent = await world.ask(), list[Sent]()
        countdown = Countdown(at, before)
        await killed_at(world, run, countdown, sent)
        await gone_on(world, run, sent)
        await world.assert_equal_to_the_portal()
        await world.assert_balanced()
        await world.assert_intervals(run)
        assert_sent_in_order(sent, await world.stored("chat_messages"))


@pytest.mark.parametrize("at", [20, 35, 50, 65])
async def test_what_is_erased_while_nobody_reads_is_a_tombstone_and_the_account_adds_up(
    stack: Addresses, topics: str, at: int
) -> None:
    async with a_world(stack, small_portal(seed=at, chats=4, messages=90), topics_of=topics) as world:
        run, sent = await world.ask(), list[Sent]()
        await killed_at(world, run, Countdown(at, before=False), sent)
        for chat in list(world.portal.chats):
            numbers = list(world.truth(chat))
            for number in {numbers[0], numbers[-1], numbers[len(numbers) // 2]} if numbers else ():
                world.running.changes.erase(chat, number)
        await gone_on(world, run, sent)
        await world.assert_balanced()
        await world.assert_intervals(run)
        # What was read before it was erased is found by the next run.
        await world.get()
        await world.assert_equal_to_the_portal()
        await world.assert_balanced()


@pytest.mark.parametrize("at", [15, 40, 65])
async def test_a_second_run_killed_in_the_middle_finds_all_changes(stack: Addresses, topics: str, at: int) -> None:
    async with a_world(stack, small_portal(seed=at, chats=4, messages=90), topics_of=topics) as world:
        await world.get()
        for chat in list(world.portal.chats):
            numbers = [number for number, row in world.truth(chat).items() if not row["deleted"]]
            if len(numbers) > 3:
                world.running.changes.edit(chat, numbers[1], "исправлено")
                world.running.changes.erase(chat, numbers[2])
            world.running.changes.post(chat, 1, "новое")
        run, sent = await world.ask(), list[Sent]()
        await killed_at(world, run, Countdown(at, before=True), sent)
        await gone_on(world, run, sent)
        await world.assert_equal_to_the_portal()
        await world.assert_balanced()
        await world.assert_intervals(run)
