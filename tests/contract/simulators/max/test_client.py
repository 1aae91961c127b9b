"""The published client, unmodified, finds what it expects of the platform, whichever way nothing is spelled."""

import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.contract.simulators.max.helpers import Receiver, chats_of, until

from chatferry.simulators.max import BOT_ID, Fault, FaultKind, Kind, Running

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from maxapi import Bot
    from maxapi.enums.update import UpdateType
    from maxapi.exceptions.max import InvalidToken, MaxApiError
    from maxapi.methods.types.getted_updates import process_update_request, process_update_webhook


@pytest.fixture(params=["absent", "null"])
async def bot(running: Running, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    running.world.change_settings({"api": {"nothing": request.param, "permissions_by_polling": True}})
    bot = Bot(running.token, auto_requests=False)
    bot.set_api_url(running.http)
    yield bot
    await bot.close_session()


async def test_it_knows_itself(bot: Any) -> None:
    me = await bot.get_me()
    assert (me.user_id, me.is_bot, me.username) == (BOT_ID, True, "counter_bot")


async def test_it_reads_the_counts_of_all_kinds_of_chats(bot: Any, running: Running) -> None:
    running.world.changes.remove_bot(chats_of(running)[2].id)
    for chat in running.world.platform.chats.values():
        read = await bot.get_chat_by_id(chat.id)
        wanted = 2 if chat.kind is Kind.DIALOG else chat.count if chat.has_bot else 0
        assert (read.chat_id, read.type, read.status) == (chat.id, chat.kind, chat.status)
        assert read.participants_count == wanted


async def test_it_pages_through_members(bot: Any, running: Running) -> None:
    chat = chats_of(running)[0]
    members = await (await bot.get_chat_by_id(chat.id)).members.list_all()
    assert [member.user_id for member in members] == list(chat.members)
    admins = await bot.get_list_admin_chat(chat.id)
    assert {member.user_id for member in admins.members} == {BOT_ID, chat.owner_id}
    me = await bot.get_me_from_chat(chat.id)
    assert (me.is_admin, me.is_owner) == (True, False)
    assert "read_all_messages" in me.permissions
    some = list(chat.members)[3]
    assert (await bot.get_chat_member(chat.id, some)).user_id == some


async def test_it_subscribes_and_unsubscribes(bot: Any, bot_server: Receiver) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = await bot.subscribe_webhook(bot_server.url, [UpdateType.USER_ADDED], "a-good-secret")
    assert done.success
    [subscription] = (await bot.get_subscriptions()).subscriptions
    assert (subscription.url, subscription.update_types) == (bot_server.url, ["user_added"])
    assert (await bot.unsubscribe_webhook(bot_server.url)).success
    assert (await bot.get_subscriptions()).subscriptions == []


def everything(running: Running) -> int:
    """One event of each kind; how many."""
    changes, chat = running.world.changes, chats_of(running)[0]
    dialog = chats_of(running, Kind.DIALOG)[0]
    who = changes.add_user(chat.id, inviter_id=chat.owner_id)
    changes.remove_user(chat.id, who)
    changes.add_user(chats_of(running, Kind.CHANNEL)[0].id)
    changes.rename(chat.id, "Renamed")
    changes.post(chat.id)
    changes.start_dialog(dialog.id)
    changes.stop_dialog(dialog.id)
    changes.remove_bot(chat.id)
    changes.add_bot(chat.id)
    return 9


async def test_it_polls_events_and_understands_them(bot: Any, running: Running) -> None:
    running.world.change_settings({"delivery": {"extra_user_id": 1, "unknown_fields": 1}})
    wanted = everything(running)
    first = await bot.get_updates(limit=4, timeout=0)
    rest = await bot.get_updates(limit=100, timeout=0, marker=first["marker"])
    models = await process_update_request(first, bot) + await process_update_request(rest, bot)
    assert len(models) == wanted
    assert {model.update_type.value for model in models} == {
        "user_added",
        "user_removed",
        "chat_title_changed",
        "message_created",
        "bot_started",
        "bot_stopped",
        "bot_removed",
        "bot_added",
    }
    assert (await bot.get_updates(timeout=0, marker=rest["marker"]))["updates"] == []


async def test_webhook_bodies_are_models_to_it(bot: Any, running: Running, bot_server: Receiver) -> None:
    running.world.change_settings({"delivery": {"extra_user_id": 1, "unknown_fields": 1}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await bot.subscribe_webhook(bot_server.url)
    wanted = everything(running)
    await until(lambda: running.world.webhooks.counts["delivered"] == wanted)
    parsed = [await process_update_webhook(body, bot) for body in bot_server.updates]
    models = [model for model in parsed if model is not None]
    assert len(models) == wanted
    assert {(model.update_type.value, model.timestamp) for model in models} == {
        (body["update_type"], body["timestamp"]) for body in bot_server.updates
    }


async def test_refusals_are_its_exceptions(bot: Any, running: Running) -> None:
    with pytest.raises(MaxApiError) as unknown:
        await bot.get_chat_by_id(-5)
    assert unknown.value.code == 404
    assert isinstance(unknown.value.raw, dict)
    assert unknown.value.raw["code"] == "not.found"
    running.world.faults.add(Fault(FaultKind.RATE_LIMIT, count=1))
    with pytest.raises(MaxApiError) as limited:
        await bot.get_me()
    assert limited.value.code == 429
    running.world.faults.add(Fault(FaultKind.UNAUTHORIZED, count=1))
    with pytest.raises(InvalidToken):
        await bot.get_me()


async def test_it_tries_again_behind_a_broken_gateway(bot: Any, running: Running) -> None:
    bot.default_connection.retry_backoff_factor = 0.01
    running.world.faults.add(Fault(FaultKind.HTML_502, count=2))
    assert (await bot.get_me()).user_id == BOT_ID
    assert running.world.traffic.summary()["by_status"] == {"200": 1, "502": 2}
