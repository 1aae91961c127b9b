from random import Random

import pytest

from chatferry.simulators.bitrix24 import GeneratorSettings, Portal, generate
from chatferry.simulators.bitrix24.activity import Activity
from chatferry.simulators.bitrix24.changes import Changes
from chatferry.simulators.bitrix24.envelope import Stamp
from chatferry.simulators.controls import UnknownError


def portal_and_changes() -> tuple[Portal, Changes]:
    portal = generate(GeneratorSettings(users=30, chats=10, messages=300))
    return portal, Changes(portal, lambda: 1_700_000_000.0, Stamp(180))


def test_the_same_seed_makes_the_same_changes() -> None:
    results = []
    for _ in range(2):
        portal, changes = portal_and_changes()
        activity = Activity(portal, changes, Random(9))
        for _ in range(600):
            activity.step()
        bodies = [chat.log.body(place) for chat in portal.chats.values() for place in range(len(chat.log))]
        results.append((activity.done, bodies))
    assert results[0] == results[1]
    assert set(results[0][0]) == {"post", "edit", "like", "delete", "erase", "member", "new_chat"}


def test_a_portal_without_chats_has_no_activity() -> None:
    portal, changes = portal_and_changes()
    for chat_id in list(portal.chats):
        changes.remove_chat(chat_id)
    activity = Activity(portal, changes, Random(9))
    activity.step()
    assert not activity.done


def test_posted_messages_get_rising_ids_and_the_portals_time() -> None:
    portal, changes = portal_and_changes()
    first = changes.post(11, 1, "one")
    second = changes.post(13, 1, "two", reply_to=first)
    assert second > first > 1000
    assert portal.chats[13].log.message(second).date == "2023-11-15T01:13:20+03:00"


def test_changes_of_what_is_not_there_are_refused_by_name() -> None:
    _, changes = portal_and_changes()
    with pytest.raises(UnknownError, match="no chat 999"):
        changes.post(999, 1, "x")
    with pytest.raises(UnknownError, match="no user 999"):
        changes.post(11, 999, "x")
    with pytest.raises(UnknownError, match="no message 5 in chat 11"):
        changes.erase(11, 5)
    with pytest.raises(UnknownError, match="not a member"):
        changes.remove_member(11, 999)
    with pytest.raises(ValueError, match="two members"):
        changes.new_chat("", 1, [], "P")
    with pytest.raises(ValueError, match="private"):
        changes.remove_member(13, 1)


def test_a_removed_private_chat_can_be_opened_again() -> None:
    portal, changes = portal_and_changes()
    one, other = portal.chats[13].members
    changes.remove_chat(13)
    assert portal.private_chat(one, other) is None
    assert portal.private_chat(other, one) is None
    chat_id = changes.new_chat("", one, [other], "P")
    assert portal.private_chat(other, one) is portal.chats[chat_id]
