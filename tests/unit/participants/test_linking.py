"""What a link changes, while the chat is read and while this replica has not heard of it yet."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import orjson
import pytest
from tests.unit.participants.story import Story

from chatferry.participants.domain.counts import Answer, ChatId, MaxChatId, Verdict
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.domain.updates import read_update
from chatferry.participants.flow.linking import begin_anew, keep_linked

CHAT, OTHER = ChatId(5), ChatId(6)
OLD, NEW = MaxChatId(-100), MaxChatId(-200)


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story()
    made.max.counts |= {OLD: 17, NEW: 9}
    for chat in (CHAT, OTHER):
        made.portal_chat(chat, members=4)
    yield made
    made.end()


def linked(story: Story) -> None:
    """The chat has been read as the old one."""
    story.do(story.catalogue.link(CHAT, OLD))
    story.do(story.view.follow(story.catalogue))
    story.begin(story.reader.run(story.stopping))
    story.after(10)
    assert story.count(CHAT) == (17, "confirmed")


def link(story: Story, max_chat: MaxChatId | None) -> None:
    changed = story.do(story.catalogue.link(CHAT, max_chat))
    assert changed is not None
    story.do(begin_anew(changed, story.counts, story.wanted))


def test_a_read_of_the_chat_that_it_was_before_is_never_written_as_that_of_the_new_one(story: Story) -> None:
    linked(story)
    link(story, NEW)
    story.do(story.wanted.ask([CHAT], Urgency.ASKED))
    story.after(0.5)
    assert [one for _, one in story.max.asked] == [OLD, OLD]
    assert story.do(story.counts.load([CHAT])) == {}
    story.do(story.view.follow(story.catalogue))
    story.after(3)
    assert story.count(CHAT) == (9, "confirmed")
    [entry] = story.do(story.catalogue.by_max_chat([NEW])).values()
    assert entry.count.count == 9


def test_a_link_of_which_nobody_has_told_for_half_a_second_is_read_right(story: Story) -> None:
    linked(story)
    link(story, NEW)
    story.after(0.6)
    story.do(story.view.follow(story.catalogue))
    story.after(2)
    assert story.count(CHAT) == (9, "confirmed")
    # The old one is MAX's own again, and read as such.
    assert sorted(one for _, one in story.max.asked) == [NEW, OLD, OLD]


def test_of_the_chat_before_no_count_is_left_when_the_new_one_may_not_be_read(story: Story) -> None:
    linked(story)
    story.max.answers[NEW] = Answer(Verdict.DENIED)
    link(story, NEW)
    story.do(story.view.follow(story.catalogue))
    story.after(3)
    assert story.count(CHAT) == (4, "denied")


@pytest.mark.parametrize("verdict", [Verdict.DENIED, Verdict.GONE])
def test_of_the_chat_before_no_count_is_left_where_nobody_could_tell_this_replica_to_forget_it(
    story: Story, verdict: Verdict
) -> None:
    linked(story)
    story.max.answers[NEW] = Answer(verdict)
    story.do(story.catalogue.link(CHAT, NEW))
    story.do(story.view.follow(story.catalogue))
    assert story.count(CHAT) == (17, "confirmed"), "in the cache"
    story.do(story.wanted.ask([CHAT], Urgency.ASKED))
    story.after(3)
    assert story.count(CHAT)[0] == 4


def test_a_link_that_is_ended_during_a_read_stays_ended(story: Story) -> None:
    linked(story)
    story.max.seconds = 1.0
    story.do(story.wanted.ask([CHAT], Urgency.ASKED))
    story.after(0.5)
    link(story, None)
    story.do(story.view.follow(story.catalogue))
    story.after(3)
    entry = story.view.entry(CHAT)
    assert entry is not None
    assert (entry.max_chat, entry.counted) == (None, None)


def test_what_an_event_says_does_not_bring_back_a_link_that_has_ended(story: Story) -> None:
    linked(story)
    entry = story.view.entry(CHAT)
    link(story, None)
    story.do(story.view.follow(story.catalogue))
    assert entry is not None
    told = {"update_type": "user_added", "timestamp": int(story.clock.now().timestamp() * 1_000), "chat_id": OLD}
    # Looked up before the link ended, applied after it.
    story.listener._known = {OLD: entry}
    story.do(story.listener._apply(read_update(orjson.dumps(told)), OLD))
    now = story.view.entry(CHAT)
    assert now is not None
    assert (now.max_chat, now.counted) == (None, None)


def test_a_link_of_the_file_is_made_where_the_chat_has_none_and_then_read(story: Story) -> None:
    task = story.begin(keep_linked({CHAT: NEW}, story.parts, story.clock, story.stopping))
    assert task.done()
    story.do(story.view.follow(story.catalogue))
    story.begin(story.reader.run(story.stopping))
    story.after(3)
    assert story.count(CHAT) == (9, "confirmed")


def test_a_link_of_the_file_forgets_what_is_cached_of_the_chat_that_max_had_by_itself(story: Story) -> None:
    own = story.do(story.catalogue.arrived(NEW, "by itself"))
    assert own is not None
    story.do(story.view.follow(story.catalogue))
    story.begin(story.reader.run(story.stopping))
    story.after(10)
    assert story.do(story.counts.load([own.id]))[own.id].count == 9
    story.begin(keep_linked({CHAT: NEW}, story.parts, story.clock, story.stopping))
    assert story.do(story.counts.load([own.id])) == {}


def test_a_link_of_the_file_waits_for_its_chat(story: Story) -> None:
    late = ChatId(77)
    task = story.begin(keep_linked({late: NEW}, story.parts, story.clock, story.stopping))
    story.after(6)
    assert not task.done()
    story.portal_chat(late, members=3)
    story.after(6)
    assert task.done()
    assert story.do(story.catalogue.by_max_chat([NEW]))[NEW].id == late


def test_a_call_that_links_while_the_file_is_looked_at_is_not_undone(story: Story) -> None:
    link, calls = story.catalogue.link, [(CHAT, OLD), (OTHER, NEW)]

    async def late(
        chat: ChatId, max_chat: MaxChatId | None, *, unless_linked: bool = False
    ) -> Collection[ChatId] | None:
        for call in calls:
            await link(*call)
        calls.clear()
        return await link(chat, max_chat, unless_linked=unless_linked)

    story.catalogue.link = late  # type: ignore[method-assign,assignment]
    task = story.begin(keep_linked({CHAT: MaxChatId(-300), ChatId(7): NEW}, story.parts, story.clock, story.stopping))
    story.portal_chat(7, members=3)
    story.after(6)
    assert task.done()
    held = story.do(story.catalogue.by_max_chat([OLD, NEW, MaxChatId(-300)]))
    assert {max_chat: entry.id for max_chat, entry in held.items()} == {OLD: CHAT, NEW: OTHER}


def test_after_a_restart_the_file_takes_back_nothing_that_a_call_has_changed(story: Story) -> None:
    story.do(story.catalogue.link(CHAT, NEW))
    story.do(story.view.follow(story.catalogue))
    story.begin(keep_linked({CHAT: OLD, OTHER: NEW}, story.parts, story.clock, story.stopping))
    story.after(6)
    held = story.do(story.catalogue.by_max_chat([OLD, NEW]))
    assert {max_chat: entry.id for max_chat, entry in held.items()} == {NEW: CHAT}
