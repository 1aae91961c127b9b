"""What MAX's events do to counts, and what they make to be read."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from typing import Any

import orjson
import pytest
from tests.unit.participants.story import Story

from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import ChatId, MaxChatId
from chatferry.participants.domain.updates import Update, read_update
from chatferry.participants.ports import Told


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story()
    yield made
    made.end()


def event(story: Story, kind: str, chat: int, user: int = 1, **more: Any) -> Update:
    at_ms = int(story.clock.now().timestamp() * 1_000)
    told = {"update_type": kind, "timestamp": at_ms, "chat_id": chat, "user": {"user_id": user}, **more}
    return read_update(orjson.dumps(told))


def known(story: Story, *counts: int) -> list[ChatId]:
    """Chats that have been read, and a reader that goes on."""
    chats = story.chats(*counts)
    story.begin(story.reader.run(story.stopping))
    story.after(10)
    return chats


def test_who_comes_shows_at_once_and_a_read_confirms_it_within_two_seconds(story: Story) -> None:
    [chat] = known(story, 10)
    story.max.counts[MaxChatId(chat)] = 11
    story.do(story.listener.apply([event(story, "user_added", chat)]))
    assert story.count(chat) == (11, "provisional")
    story.after(2)
    assert story.count(chat) == (11, "confirmed")
    assert story.watch.reads[-1] == (False, "event")


def test_many_events_of_a_chat_cost_one_read(story: Story) -> None:
    [chat] = known(story, 10)
    asked = len(story.max.asked)
    for user in range(20):
        story.do(story.listener.apply([event(story, "user_added", chat, user)]))
        story.after(0.05)
    story.after(3)
    assert len(story.max.asked) == asked + 1


def test_the_same_event_again_moves_nothing(story: Story) -> None:
    [chat] = known(story, 10)
    update = event(story, "user_added", chat)
    story.do(story.listener.apply([update, update]))
    story.do(story.listener.apply([update]))
    assert story.count(chat) == (11, "provisional")


def test_an_event_older_than_the_last_read_moves_nothing(story: Story) -> None:
    [chat] = story.chats(10)
    late = event(story, "user_removed", chat)
    story.after(1)
    story.begin(story.reader.run(story.stopping))
    story.after(5)
    story.do(story.listener.apply([late]))
    assert story.count(chat) == (10, "confirmed")


def test_after_quiet_every_count_is_exact_whatever_was_lost_doubled_or_late() -> None:
    story, chance = Story(safety_s=60), random.Random(5)
    chats = known(story, *[20] * 12)
    held_back: list[Update] = []
    for user in range(200):
        chat = chance.choice(chats)
        came = chance.random() < 0.6
        story.max.counts[MaxChatId(chat)] += 1 if came else -1
        update = event(story, "user_added" if came else "user_removed", chat, user)
        fate = chance.random()
        batch = [] if fate < 0.2 else [update, update] if fate < 0.4 else [update]
        if fate > 0.8:
            held_back.append(update)
            batch = []
        story.do(story.listener.apply(batch))
        story.after(0.2)
    chance.shuffle(held_back)
    story.do(story.listener.apply(held_back))
    story.after(62)
    truth = {chat: (story.max.counts[MaxChatId(chat)], "confirmed") for chat in chats}
    assert {chat: story.count(chat) for chat in chats} == truth
    story.end()


def test_a_chat_that_the_bot_is_added_to_appears_and_is_counted(story: Story) -> None:
    story.begin(story.reader.run(story.stopping))
    story.max.counts[MaxChatId(-5)] = 33
    story.do(story.listener.apply([event(story, "bot_added", -5)]))
    story.do(story.view.follow(story.catalogue))
    story.after(3)
    assert story.count(ChatId(-5)) == (33, "confirmed")
    assert story.max.rights_asked == [MaxChatId(-5)]


def test_a_dialog_is_nobodys_group(story: Story) -> None:
    story.do(story.listener.apply([event(story, "bot_added", 77)]))
    story.do(story.view.follow(story.catalogue))
    assert len(story.view) == 0


def test_a_chat_that_the_bot_is_put_out_of_keeps_its_count_and_says_so(story: Story) -> None:
    [chat] = known(story, 10)
    story.do(story.listener.apply([event(story, "bot_removed", chat)]))
    assert story.count(chat) == (10, "frozen")


def test_rights_that_were_taken_away_let_the_chat_be_read_every_five_minutes(story: Story) -> None:
    [chat] = known(story, 10)
    asked = len(story.max.asked)
    told = event(story, "bot_admin_permissions_changed", chat, is_admin=False, permissions=None)
    story.do(story.listener.apply([told]))
    story.max.trusted = False
    story.after(650)
    assert len(story.max.asked) == asked + 2


def test_rights_that_were_given_are_a_reason_to_read_at_once(story: Story) -> None:
    [chat] = known(story, 10)
    asked = len(story.max.asked)
    told = event(story, "bot_admin_permissions_changed", chat, is_admin=True, permissions=["read_all_messages"])
    story.do(story.listener.apply([told]))
    story.after(2)
    assert len(story.max.asked) == asked + 1


def test_rights_of_a_moment_to_come_do_not_outlast_those_that_are_told_after_them(story: Story) -> None:
    [chat] = known(story, 10)
    ahead = int(story.clock.now().timestamp() * 1_000) + 10**9
    kind = "bot_admin_permissions_changed"
    story.do(story.listener.apply([event(story, kind, chat, is_admin=False, timestamp=ahead)]))
    story.after(1)
    given = event(story, kind, chat, is_admin=True, permissions=["read_all_messages"])
    story.do(story.listener.apply([given]))
    assert story.do(story.catalogue.by_max_chat([MaxChatId(chat)]))[MaxChatId(chat)].trusted


def test_what_comes_late_of_rights_and_titles_is_learned_by_nobody(story: Story) -> None:
    [chat] = known(story, 10)
    now_ms = int(story.clock.now().timestamp() * 1_000)
    story.do(story.catalogue.note(chat, Told(title="second", trusted=False, at_ms=now_ms)))
    story.do(story.view.follow(story.catalogue))
    given: dict[str, Any] = {"is_admin": True, "permissions": ["read_all_messages"]}
    late = [
        event(story, "bot_admin_permissions_changed", chat, timestamp=now_ms - 1_000, **given),
        event(story, "chat_title_changed", chat, timestamp=now_ms - 1_000, title="first"),
    ]
    story.do(story.listener.apply(late))
    entry = story.view.entry(chat)
    assert entry is not None
    assert (entry.title, entry.trusted) == ("second", False)


@pytest.mark.parametrize("kind", ["bot_admin_permissions_changed", "user_added"])
def test_an_event_of_a_chat_that_is_linked_meanwhile_is_of_the_one_that_it_is_linked_to(
    story: Story, kind: str
) -> None:
    [own] = known(story, 10)
    chat = story.portal_chat(5, members=4)
    by_max_chat = story.catalogue.by_max_chat

    async def linked_then(chats: Collection[MaxChatId]) -> dict[MaxChatId, Entry]:
        found = await by_max_chat(chats)
        story.catalogue.by_max_chat = by_max_chat  # type: ignore[method-assign]
        await story.catalogue.link(chat, MaxChatId(own))
        return found

    story.catalogue.by_max_chat = linked_then  # type: ignore[method-assign]
    story.do(story.listener.apply([event(story, kind, own, is_admin=False)]))
    [entry] = story.do(by_max_chat([MaxChatId(own)])).values()
    assert entry.id == chat
    assert (entry.trusted, entry.count.count) == ((True, 11) if kind == "user_added" else (False, 10))


def test_a_new_title_is_that_of_a_chat_that_only_max_has(story: Story) -> None:
    [chat] = known(story, 10)
    story.do(story.listener.apply([event(story, "chat_title_changed", chat, title="renamed")]))
    story.do(story.view.follow(story.catalogue))
    entry = story.view.entry(chat)
    assert entry is not None
    assert entry.title == "renamed"


def test_types_that_mean_nothing_and_updates_of_no_chat_are_passed_over(story: Story) -> None:
    [chat] = known(story, 10)
    asked = len(story.max.asked)
    nothing = read_update(b'{"update_type":"comment_sparkled","timestamp":5}')
    alive = read_update(b'{"update_type":"message_created","timestamp":5}')
    story.do(story.listener.apply([nothing, alive, event(story, "dialog_muted", chat)]))
    story.after(3)
    assert len(story.max.asked) == asked
