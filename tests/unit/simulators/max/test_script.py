"""What goes on by itself: repeatable, at the set rate, quiet when it is told to be; and the history of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from chatferry.simulators.max import Kind, Script, Settings, Size, World, truth
from chatferry.simulators.max.generator import generate
from chatferry.simulators.max.world import new_world


def world_of(seed: int = 1, speed: float = 1, **script: float) -> World:
    settings = Settings(speed=speed, script=Script.model_validate(script))
    return new_world(generate(Size(seed=seed, chats=60, largest=60)), settings, seed)


@asynccontextmanager
async def going_on(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.timetable.run())
    world.script.resume()
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def made(world: World, changes: int) -> None:
    async with asyncio.timeout(20):
        while world.history.changes["total"] < changes:  # noqa: ASYNC110 nobody announces it
            await asyncio.sleep(0.01)


async def test_the_same_seed_makes_the_same_changes() -> None:
    one, same, other = (world_of(seed, silent=0.1, admin=0.1, bot=0.1, rename=0.1) for seed in (1, 1, 2))
    for world in (one, same, other):
        for _ in range(500):
            world.script.step()
    wanted = {"add_user", "remove_user", "rename", "take_admin", "give_admin", "remove_bot", "add_bot"}
    assert set(one.script.done) == wanted
    assert truth.counts(one)["counts"] == truth.counts(same)["counts"]
    assert one.script.done == same.script.done
    assert one.history.changes == same.history.changes
    assert one.script.done != other.script.done


async def test_a_share_of_the_chats_changes_each_minute_of_the_clock() -> None:
    """57 chats that are no dialogs, each ten times a minute: 9.5 changes a second."""
    world = world_of(speed=100, changes_per_minute=10, rename=0)
    began = world.clock()
    async with going_on(world):
        await made(world, 400)
        minutes = (world.clock() - began) / 60
    # 400 of a Poisson process: five deviations are a quarter.
    assert 0.75 < world.history.changes["total"] / (minutes * 57 * 10) < 1.25


async def test_a_paused_script_is_quiet_and_goes_on_when_told() -> None:
    world = world_of(speed=100, changes_per_minute=10)
    async with going_on(world):
        await made(world, 20)
        world.script.pause()
        quiet = truth.counts(world)["counts"], world.history.changes["total"]
        world.skip(3600)
        await asyncio.sleep(0.3)
        assert (truth.counts(world)["counts"], world.history.changes["total"]) == quiet
        world.script.resume()
        await made(world, quiet[1] + 20)


async def test_another_rate_is_in_effect_at_once() -> None:
    world = world_of(changes_per_minute=0)
    async with going_on(world):
        world.change_settings({"speed": 100, "script": {"changes_per_minute": 10}})
        await made(world, 20)


async def test_messages_move_no_count() -> None:
    world = world_of(changes_per_minute=0)
    before = truth.counts(world)["counts"]
    for _ in range(50):
        world.script.say()
    assert world.script.done == {"message": 50}
    assert truth.counts(world)["counts"] == before


async def test_silent_changes_are_told_to_nobody_and_known_to_the_truth() -> None:
    world = world_of(silent=1, rename=0)
    for _ in range(40):
        world.script.step()
    assert truth.events(world)["changes"] == {"total": 40, "told": 0, "silent": 40, "unheard": 0, "missed": 40}
    assert world.outbox.counts["events"] == 0


async def test_the_history_ends_with_the_counts_and_has_every_move_in_order() -> None:
    world = world_of(bot=0.1)
    first = truth.history(world)["history"]
    assert {len(steps) for steps in first.values()} == {1}
    for _ in range(300):
        world.skip(1)
        world.script.step()
    after, counts = truth.history(world)["history"], truth.counts(world)["counts"]
    for chat_id, steps in after.items():
        assert steps[-1][1] == counts.get(chat_id)
        assert [moment for moment, _ in steps] == sorted({moment for moment, _ in steps})
        moves = [one[1] - two[1] for one, two in zip(steps[1:], steps, strict=False) if None not in (one[1], two[1])]
        assert set(moves) <= {1, -1}
    assert sum(len(steps) - 1 for steps in after.values()) > 250


async def test_the_history_since_a_moment_begins_with_what_was_true_then() -> None:
    world = world_of()
    chat = world.platform.shared()[0]
    moments = []
    for _ in range(3):
        world.skip(10)
        moments.append(truth.now_ms(world))
        world.changes.add_user(chat.id)
    count = chat.count
    world.skip(10)
    steps = truth.history(world, chat.id, moments[1] - 5000)["history"][chat.id]
    assert [step[1] for step in steps] == [count - 2, count - 1, count]
    assert truth.history(world, chat.id, truth.now_ms(world))["history"] == {chat.id: steps[-1:]}


async def test_dialogs_and_chats_without_the_bot_stay_as_they_are() -> None:
    world = world_of(rename=0)
    dialogs = {chat.id for chat in world.platform.chats.values() if chat.kind is Kind.DIALOG}
    gone = world.platform.shared()[0]
    world.changes.remove_bot(gone.id)
    count = gone.count
    for _ in range(400):
        world.script.step()
    assert gone.count == count
    assert all(world.platform.chats[chat_id].count == 2 for chat_id in dialogs)
    assert gone.id not in truth.counts(world)["counts"]


@pytest.mark.parametrize("chats", [0, 1])
async def test_a_platform_where_nothing_can_change_does_not_fail(chats: int) -> None:
    world = new_world(generate(Size(chats=chats, dialogs=1, channels=0)), Settings(), 1)
    world.script.resume()
    world.script.step()
    world.script.say()
    assert not world.script.done
