"""What one replica reads, in which order, and what it does when MAX does not answer."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest
from tests.unit.participants.story import EPOCH, Story, busy

from chatferry.common.errors import OutageError
from chatferry.participants.domain.catalogue import slot_of
from chatferry.participants.domain.counts import MaxChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.domain.updates import read_update
from chatferry.participants.flow.planning import LOOK_EVERY_S
from chatferry.participants.ports import MaxRefusedError


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story()
    yield made
    made.end()


def test_every_chat_that_max_has_is_read_once_and_then_left_alone(story: Story) -> None:
    chats = story.chats(3, 5, 8)
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    assert [story.count(chat) for chat in chats] == [(3, "confirmed"), (5, "confirmed"), (8, "confirmed")]
    assert len(story.max.asked) == 3
    assert {entry.counted.stamp.epoch for entry in story.view.entries() if entry.counted} == {EPOCH}


def test_a_chat_of_the_portal_alone_is_never_asked_about(story: Story) -> None:
    chat = story.portal_chat(5, members=12)
    story.do(story.wanted.ask([chat], Urgency.ASKED))
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    assert story.max.asked == []
    assert story.view.entry(chat).count.count == 12  # type: ignore[union-attr]


def test_what_somebody_waits_for_goes_before_what_is_merely_due(story: Story) -> None:
    chats = story.chats(*range(1, 301))
    story.begin(story.reader.run(story.stopping))
    story.after(2)
    late = next(chat for chat in chats if MaxChatId(chat) not in {asked for _, asked in story.max.asked})
    waiting = story.begin(story.waiting.wait([late], int(story.clock.now().timestamp() * 1_000), 5))
    story.do(story.wanted.ask([late], Urgency.ASKED))
    # The leave of this second may be used up, for nobody had asked before.
    story.after(1.3)
    assert waiting.done()
    assert waiting.result() == {late}


def test_never_more_reads_at_once_than_allowed_and_never_two_of_one_chat() -> None:
    story = Story(most=4)
    chats = story.chats(*range(1, 41))
    story.max.seconds = 0.9
    story.begin(story.reader.run(story.stopping))
    for _ in range(100):
        story.do(story.wanted.ask(chats[:5], Urgency.ASKED))
        story.after(0.1)
    assert (story.max.most_at_once, story.max.twice_at_once) == (4, 0)
    story.end()


def test_no_second_holds_more_calls_than_the_budget(story: Story) -> None:
    story.chats(*range(1, 200))
    story.begin(story.reader.run(story.stopping))
    story.after(10)
    times = story.max.called
    assert len(times) >= 27 * 9
    assert max(sum(1 for other in times if at <= other < at + 1) for at in times) <= 27


def test_after_a_429_the_chat_is_read_later_and_everybody_waits(story: Story) -> None:
    [chat] = story.chats(4)
    refusals = iter([busy()])
    story.max.failing = lambda: next(refusals, None)
    story.begin(story.reader.run(story.stopping))
    story.after(1.9)
    assert len(story.max.asked) == 1
    story.after(8)
    assert story.count(chat) == (4, "confirmed")


def test_when_max_fails_again_and_again_one_read_at_a_time_looks_for_it(story: Story) -> None:
    story.chats(*range(1, 101))
    story.max.failing = lambda: OutageError("max", "MAX does not answer")
    story.begin(story.reader.run(story.stopping))
    story.after(120)
    later = [at for at, _ in story.max.asked if at > 3]
    assert 3 <= len(later) <= 10, "it is looked for, and not hammered"
    assert story.watch.away[-1:] == ["MAX does not answer"]
    story.max.failing = lambda: None
    story.after(60)
    assert story.watch.away[-1:] == [None]
    assert all(entry.counted for entry in story.view.entries())


def test_a_token_that_is_refused_is_named_and_asks_for_no_more(story: Story) -> None:
    story.chats(*range(1, 11))
    story.max.failing = MaxRefusedError
    story.begin(story.reader.run(story.stopping))
    story.after(29)
    assert len(story.max.asked) <= 10
    assert "CHATFERRY_MAX_TOKEN" in (story.watch.away[-1] or "")


def test_a_read_whose_slot_is_lost_before_it_began_is_not_made() -> None:
    story = Story(per_second=1)
    chats = story.chats(1, 2, 3)
    story.begin(story.reader.run(story.stopping))
    story.after(0.5)
    assert len(story.max.asked) == 1
    story.hold([slot_of(chats[0]) + 1])
    story.after(10)
    lost = {chat for chat in chats if slot_of(chat) != slot_of(chats[0]) + 1}
    assert {chat for at, chat in story.max.asked if at > 2.1}.isdisjoint({MaxChatId(chat) for chat in lost})
    story.end()


def test_whether_events_can_be_trusted_is_asked_once_for_a_new_chat(story: Story) -> None:
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(400)
    assert story.max.rights_asked == [MaxChatId(chat)]
    assert len(story.max.asked) == 1, "its events are trusted"


def test_a_chat_that_the_bot_comes_to_is_asked_for_its_rights_by_whatever_read_is_first(story: Story) -> None:
    """The plan reads a new chat before the event's own read is due, which is no longer wanted then."""
    story.begin(story.reader.run(story.stopping))
    story.after(LOOK_EVERY_S - 0.5)
    story.max.counts[MaxChatId(-5)] = 4
    body = {"update_type": "bot_added", "chat_id": -5, "timestamp": int(story.clock.now().timestamp() * 1_000)}
    story.do(story.listener.apply([read_update(orjson.dumps(body))]))
    story.do(story.view.follow(story.catalogue))
    story.after(400)
    assert story.max.rights_asked == [MaxChatId(-5)]
    assert len(story.max.asked) == 1, "its events are trusted"


def test_a_chat_whose_events_do_not_come_is_read_every_five_minutes(story: Story) -> None:
    story.max.trusted = False
    story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(1_210)
    assert len(story.max.asked) == 5


def test_a_right_that_was_taken_without_an_event_is_noticed_by_the_first_change_that_nobody_told() -> None:
    story = Story(safety_s=1_000)
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    story.max.trusted = False
    story.after(1_000)
    assert len(story.max.rights_asked) == 1, "nothing has changed that would have been told"
    story.max.counts[MaxChatId(chat)] = 5
    story.after(1_000)
    assert len(story.max.rights_asked) == 2
    read = len(story.max.asked)
    story.after(610)
    assert len(story.max.asked) >= read + 2, "its events do not come, as is known now"
    assert len(story.max.rights_asked) == 2
    story.end()


def test_changes_that_a_gap_explains_are_no_reason_to_ask_for_the_rights(story: Story) -> None:
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    story.trust.gap_ms = int(story.clock.now().timestamp() * 1_000)
    story.max.counts[MaxChatId(chat)] = 5
    story.after(400)
    assert story.watch.reads[-1] == (True, "other")
    assert len(story.max.rights_asked) == 1


def test_a_change_that_an_event_has_told_is_no_reason_to_ask_for_the_rights(story: Story) -> None:
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    story.max.counts[MaxChatId(chat)] = 9
    story.do(story.wanted.ask([chat], Urgency.CHANGED))
    story.after(10)
    assert story.watch.reads[-1] == (True, "event")
    assert len(story.max.rights_asked) == 1


def test_after_a_gap_in_the_subscription_every_chat_is_read_again_soon(story: Story) -> None:
    story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(400)
    story.trust.gap_ms = int(story.clock.now().timestamp() * 1_000) - 1
    story.after(310)
    assert len(story.max.asked) == 2
    story.after(310)
    assert len(story.max.asked) == 2, "it was read after the gap"


def test_a_stop_finishes_the_reads_under_way_and_gives_the_slots_back(story: Story) -> None:
    [chat] = story.chats(4)
    story.max.seconds = 2.0
    running = story.begin(story.reader.run(story.stopping))
    story.after(1)
    story.stopping.set()
    story.after(3)
    assert running.done()
    assert running.exception() is None
    assert story.count(chat) == (4, "confirmed")
    assert story.do(story.slots.keep()).slots == {}


def test_reads_that_find_another_count_without_an_event_are_told_as_missed() -> None:
    story = Story(safety_s=60)
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(5)
    story.max.counts[MaxChatId(chat)] = 5
    story.after(60)
    assert story.watch.reads[-1] == (True, "audit")
    story.end()


def test_what_a_reader_brings_about_or_no_event_can_tell_is_no_sample_of_what_events_miss() -> None:
    story = Story(safety_s=60)
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(5)
    story.max.counts[MaxChatId(chat)] = 5
    story.do(story.wanted.ask([chat], Urgency.ASKED))
    story.after(5)
    assert story.watch.reads[-1] == (True, "other"), "its event may be on its way"
    story.max.trusted = False
    story.max.counts[MaxChatId(chat)] = 6
    story.after(60)
    assert story.watch.reads[-1] == (True, "audit")
    story.max.counts[MaxChatId(chat)] = 7
    story.after(60)
    assert story.watch.reads[-1] == (True, "other"), "the bot is not told of this chat's changes"
    story.end()
