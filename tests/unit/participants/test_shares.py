"""However much readers ask for, what events tell of and what is planned has its part of the reads."""

from __future__ import annotations

from tests.unit.participants.story import Story

from chatferry.participants.domain.counts import MaxChatId
from chatferry.participants.domain.plan import Urgency

ASKED, CHANGED = 400, 20


def flooded() -> tuple[Story, set[MaxChatId]]:
    """Readers ask for 400 chats at once, when events tell of twenty others."""
    story = Story()
    chats = story.chats(*range(1, ASKED + CHANGED + 1))
    story.begin(story.reader.run(story.stopping))
    story.after(40)
    story.max.asked.clear()
    changed = chats[-CHANGED:]
    story.do(story.wanted.ask(chats[:ASKED], Urgency.ASKED))
    story.do(story.wanted.ask(changed, Urgency.CHANGED))
    return story, {MaxChatId(chat) for chat in changed}


def test_one_read_in_four_is_for_what_events_tell_of_while_readers_ask_for_more_than_can_be_read() -> None:
    story, changed = flooded()
    # Until an event's read is due, and the fifty that are claimed already are read: three to four seconds.
    story.after(8)
    asked = [chat for _, chat in story.max.asked]
    assert changed <= set(asked), "twenty are six to seven a second"
    assert len(asked) >= 8 * 27 * 0.9
    story.end()


def test_readers_have_three_reads_in_four() -> None:
    story, changed = flooded()
    story.after(4)
    asked = [chat for at, chat in story.max.asked if at > 42]
    assert sum(chat not in changed for chat in asked) >= len(asked) * 0.7
    story.end()


def test_what_is_planned_has_its_part_too() -> None:
    story, _ = flooded()
    story.after(1)
    new = story.chats(*range(1, ASKED + CHANGED + 6))[-3:]
    # A look at what is due is made every five seconds.
    story.after(16)
    assert {MaxChatId(chat) for chat in new} <= {chat for _, chat in story.max.asked}
    story.end()


def test_readers_have_all_reads_where_nothing_else_waits() -> None:
    story = Story()
    chats = story.chats(*range(1, 201))
    story.begin(story.reader.run(story.stopping))
    story.after(30)
    story.max.asked.clear()
    story.do(story.wanted.ask(chats, Urgency.ASKED))
    story.after(7.6)
    assert len(story.max.asked) == 200
    story.end()
