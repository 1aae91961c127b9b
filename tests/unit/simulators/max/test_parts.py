"""The timetable, the settings, and changes that cannot be."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from chatferry.simulators.clock import ScaledClock
from chatferry.simulators.controls import UnknownError
from chatferry.simulators.max import BOT_ID, Kind, Settings, Size, Status
from chatferry.simulators.max.generator import generate
from chatferry.simulators.max.settings import changed, from_options
from chatferry.simulators.max.timetable import Timetable
from chatferry.simulators.max.world import World, new_world


async def test_acts_happen_in_the_order_of_their_moments_when_the_clock_gets_there() -> None:
    clock = ScaledClock()
    timetable, done = Timetable(clock), list[str]()
    for seconds, name in ((300, "third"), (0, "first"), (200, "second"), (10**6, "never")):
        timetable.after(seconds, lambda name=name: done.append(name))  # type: ignore[misc]
    task = asyncio.create_task(timetable.run())
    await asyncio.sleep(0.05)
    assert done == ["first"]
    clock.skip(250)
    timetable.wake()
    await asyncio.sleep(0.05)
    assert done == ["first", "second"]
    clock.set_speed(10_000)
    timetable.wake()
    async with asyncio.timeout(10):
        while len(done) < 3:  # noqa: ASYNC110 nobody announces it
            await asyncio.sleep(0.005)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert done == ["first", "second", "third"]


async def test_an_act_that_fails_is_not_swallowed() -> None:
    timetable = Timetable(ScaledClock())

    def fail() -> None:
        raise ArithmeticError

    timetable.after(0, fail)
    with pytest.raises(ArithmeticError):
        await timetable.run()


async def test_a_timetable_ends_when_it_is_cancelled() -> None:
    """And others get their turn, however much is due."""
    for _ in range(200):
        timetable = Timetable(ScaledClock())

        def again(timetable: Timetable = timetable) -> None:
            timetable.after(0, again)

        again()
        task = asyncio.create_task(timetable.run())
        await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=5)
        assert done == {task}


def test_options_name_settings_and_their_values() -> None:
    options = from_options(["speed=60", "delivery.drop=0.25", "api.auth_status=403", "api.nothing=null"])
    settings = changed(Settings(), options)
    assert (settings.speed, settings.delivery.drop, settings.api.auth_status) == (60, 0.25, 403)
    assert settings.api.nothing == "null"
    assert settings.delivery.retries == 10


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("delivery.drop=1.5", "delivery.drop: Input should be less than or equal to 1"),
        ("delivery.dorp=0.5", "delivery.dorp: Extra inputs are not permitted"),
        ("speed=0", "speed: Input should be greater than 0"),
        ("api=5", "api: Input should be a valid dictionary"),
        ("api.retry_after=maybe", "api.retry_after: Input should be 'sometimes', 'always' or 'never'"),
        ("fast", "--set: 'fast' is not SETTING=VALUE"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(option: str, sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        changed(Settings(), from_options([option]))
    assert str(refused.value).startswith(sentence)


def small_world() -> World:
    return new_world(generate(Size(chats=40, largest=30)), Settings(), 1)


async def test_changes_that_cannot_be_are_refused_and_change_nothing() -> None:
    world = small_world()
    changes, chat = world.changes, world.platform.shared()[0]
    dialog = next(chat for chat in world.platform.chats.values() if chat.kind is Kind.DIALOG)
    inside = list(chat.members)[3]
    before = chat.count, dict(world.history.changes)
    wrongs: tuple[Callable[[], object], ...] = (
        lambda: changes.add_user(chat.id, inside),
        lambda: changes.add_user(dialog.id),
        lambda: changes.remove_user(dialog.id),
        lambda: changes.add_bot(chat.id),
        lambda: changes.remove_bot(chat.id, Status.ACTIVE),
        lambda: changes.start_dialog(chat.id),
        lambda: changes.new_chat(Kind.DIALOG),
        lambda: changes.new_chat(members=1),
        lambda: changes.send({"type": "x"}),
    )
    for wrong in wrongs:
        with pytest.raises(ValueError):
            wrong()
    unknowns: tuple[Callable[[], object], ...] = (
        lambda: changes.add_user(-1),
        lambda: changes.remove_user(chat.id, 1),
        lambda: changes.remove_user(chat.id, BOT_ID),
    )
    for unknown in unknowns:
        with pytest.raises(UnknownError):
            unknown()
    assert (chat.count, dict(world.history.changes)) == before
    assert world.outbox.counts["events"] == 0


async def test_the_last_guest_gone_nobody_can_go() -> None:
    world = small_world()
    chat = world.platform.shared()[-1]
    while chat.count > 2:
        world.changes.remove_user(chat.id)
    with pytest.raises(ValueError, match="only its owner and the bot"):
        world.changes.remove_user(chat.id)
    assert set(chat.members) == {BOT_ID, chat.owner_id}


async def test_another_bot_counts_and_is_said_to_be_one() -> None:
    world = small_world()
    chat = world.platform.shared()[0]
    before = chat.count
    who = world.changes.add_user(chat.id, bot=True)
    assert chat.count == before + 1
    world.changes.remove_user(chat.id, who)
    told = world.feed.read(0, 10, frozenset()).updates
    assert [update["user"]["is_bot"] for update in told] == [True, True]
    assert not chat.bots
