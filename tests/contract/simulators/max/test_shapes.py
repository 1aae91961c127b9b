"""Answers and events have the keys and JSON types of the published examples."""

from collections.abc import Callable

import pytest
from tests.contract.simulators.max.helpers import Json, Max, chats_of, fixture
from tests.contract.simulators.shapes import differences

from chatferry.simulators.max import Changes, Chat, Kind, Running, Status

PERSON = frozenset({"last_name", "username"})
"""Fields that some people have and others have not."""


def plain_chat(running: Running) -> Chat:
    """The smallest group, with what the examples have."""
    chat = chats_of(running)[-1]
    chat.icon, chat.description = False, "Fixture group"
    return chat


async def test_the_bot_is_described_as_published(api: Max) -> None:
    assert differences(await api.result("/me"), fixture("me"), frozenset()) == []


async def test_a_group_that_the_bot_administers(api: Max, running: Running) -> None:
    chat = plain_chat(running)
    ours = await api.result(f"/chats/{chat.id}")
    assert differences(ours, fixture("chat") | {"participants": {}}, frozenset()) == []
    assert len(ours["participants"]) == ours["participants_count"] == chat.count
    assert set(map(type, ours["participants"].values())) == {int}


async def test_a_channel(api: Max, running: Running) -> None:
    channel = chats_of(running, Kind.CHANNEL)[0]
    channel.icon, channel.description = True, None
    assert differences(await api.result(f"/chats/{channel.id}"), fixture("chat_channel"), frozenset()) == []


async def test_a_dialog(api: Max, running: Running) -> None:
    dialog = chats_of(running, Kind.DIALOG)[0]
    ours = await api.result(f"/chats/{dialog.id}")
    assert differences(ours, fixture("chat_dialog"), PERSON) == []
    assert ours["participants_count"] == 2
    assert ours["chat_id"] > 0


async def test_a_chat_that_the_bot_was_removed_from(api: Max, running: Running) -> None:
    chat = plain_chat(running)
    running.world.changes.remove_bot(chat.id, Status.REMOVED)
    ours = await api.result(f"/chats/{chat.id}")
    assert differences(ours, fixture("chat_removed"), frozenset()) == []
    assert (ours["status"], ours["participants_count"]) == ("removed", 0)


async def test_the_old_list_of_chats(api: Max, running: Running) -> None:
    for chat in running.world.platform.chats.values():
        chat.icon, chat.description = chat.kind is Kind.CHANNEL, None if chat.kind is Kind.CHANNEL else "Fixture group"
    running.world.change_settings({"api": {"list_chats": True}})
    for name, params in (("chats_page", {"count": 17}), ("chats_page_last", {"count": 17, "marker": 17})):
        page, wanted = await api.result("/chats", params=params), fixture(name)
        assert page.keys() == wanted.keys()
    first = await api.result("/chats", params={"count": 17})
    for row in first["chats"]:
        wanted = fixture("chats_page")["chats"][row["type"] == "channel"]
        assert differences(row, wanted, frozenset()) == []


async def test_pages_of_members(api: Max, running: Running) -> None:
    chat = plain_chat(running)
    page = await api.result(f"/chats/{chat.id}/members", params={"count": 2})
    wanted = fixture("members_page")
    assert page.keys() == wanted.keys()
    for ours, theirs in zip(page["members"], wanted["members"], strict=False):
        assert differences(ours, theirs, PERSON) == []
    params = {"count": chat.count, "marker": page["marker"]}
    last = await api.result(f"/chats/{chat.id}/members", params=params)
    assert differences(last, fixture("members_page_last"), PERSON) == []


async def test_the_bots_own_membership(api: Max, running: Running) -> None:
    ours = await api.result(f"/chats/{plain_chat(running).id}/members/me")
    assert differences(ours, fixture("membership_me"), frozenset()) == []


async def test_subscriptions_and_plain_answers(api: Max) -> None:
    request = fixture("subscribe_request")
    assert await api.result("/subscriptions", "POST", json=request) == fixture("simple_success")
    assert differences(await api.result("/subscriptions"), fixture("subscriptions"), frozenset()) == []
    failure = await api.result("/subscriptions", "DELETE", params={"url": "https://elsewhere.test"})
    assert differences(failure, fixture("simple_failure"), frozenset()) == []
    assert failure["success"] is False


async def test_errors_have_the_published_codes(api: Max, running: Running) -> None:
    chat = plain_chat(running)
    running.world.changes.set_admin(chat.id, False)
    wrong = Max(api.client, api.url, "wrong")
    said = {
        "error": (await wrong.call("/me")).json(),
        "error_403": (await api.call(f"/chats/{chat.id}/members")).json(),
        "error_404": (await api.call("/chats/-5")).json(),
    }
    running.world.change_settings({"api": {"rate_per_s": 1}})
    said["error_429"] = [(await api.call("/me")).json() for _ in range(2)][1]
    assert said == {name: fixture(name) for name in said}


Act = Callable[[Changes, Chat, Chat, Chat], object]
UPDATES: dict[str, Act] = {
    "update_user_added": lambda do, chat, _c, _d: do.add_user(chat.id, inviter_id=chat.owner_id),
    "update_user_added_by_link_channel": lambda do, _chat, channel, _d: do.add_user(channel.id),
    "update_user_removed": lambda do, chat, _c, _d: do.remove_user(chat.id, admin_id=chat.owner_id),
    "update_user_removed_left": lambda do, chat, _c, _d: do.remove_user(chat.id),
    "update_bot_removed": lambda do, chat, _c, _d: do.remove_bot(chat.id),
    "update_bot_added": lambda do, _chat, _c, _d: do.new_chat(),
    "update_chat_title_changed": lambda do, chat, _c, _d: do.rename(chat.id, "Renamed room"),
    "update_bot_started": lambda do, _chat, _c, dialog: do.start_dialog(dialog.id),
    "update_bot_stopped": lambda do, _chat, _c, dialog: do.stop_dialog(dialog.id),
    "update_bot_admin_permissions_changed": lambda do, chat, _c, _d: do.set_admin(chat.id, False),
}


@pytest.mark.parametrize("name", UPDATES)
async def test_an_event(api: Max, running: Running, name: str) -> None:
    polled = {"permissions_by_polling": True, "nothing": "null" if "permissions" in name else "absent"}
    running.world.change_settings({"api": polled})
    channel, dialog = chats_of(running, Kind.CHANNEL)[0], chats_of(running, Kind.DIALOG)[0]
    UPDATES[name](running.world.changes, plain_chat(running), channel, dialog)
    ours, wanted = (await api.updates())[-1], fixture(name)
    assert differences(ours, wanted, PERSON) == []
    assert (ours["update_type"], ours.get("is_channel")) == (wanted["update_type"], wanted.get("is_channel"))


async def test_a_page_of_events_and_an_empty_one(api: Max, running: Running) -> None:
    running.world.changes.add_user(plain_chat(running).id)
    page: Json = await api.result("/updates", params={"timeout": 0})
    assert page.keys() == fixture("updates_page").keys()
    empty = await api.result("/updates", params={"timeout": 0, "marker": page["marker"]})
    assert empty == fixture("updates_page_empty") | {"marker": page["marker"]}
