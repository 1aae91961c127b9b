"""What is read again when a wish, an answer or a clock was lost on the way, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import orjson
import pytest
from tests.unit.participants.story import Story, busy

from chatferry.common.errors import OutageError
from chatferry.participants.adapters.local_work import LocalBudget
from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import Answer, ChatId, MaxChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.domain.updates import read_update
from chatferry.participants.flow.reading import Reader
from chatferry.participants.ports import Grant, Membership, Ready, Told, at_once


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story()
    yield made
    made.end()


def joins(story: Story, chat: ChatId) -> None:
    at_ms = int(story.clock.now().timestamp() * 1_000)
    body = {"update_type": "user_added", "chat_id": chat, "timestamp": at_ms, "user": {"user_id": 7, "is_bot": False}}
    story.do(story.listener.apply([read_update(orjson.dumps(body))]))


def asked_about(story: Story, chat: ChatId) -> list[float]:
    return [at for at, asked in story.max.asked if asked == MaxChatId(chat)]


def fails_for(story: Story, bad: ChatId) -> list[bool]:
    """The reads of one chat fail while the list is not empty."""
    answered, broken = story.max.chat, [True]

    async def failing(chat: MaxChatId, ready: Ready = at_once) -> Answer:
        answer = await answered(chat, ready)
        if broken and chat == MaxChatId(bad):
            raise OutageError("max", "MAX answers 500 for this chat")
        return answer

    story.max.chat = failing  # type: ignore[method-assign]
    return broken


def test_a_count_that_an_event_moved_is_confirmed_though_the_wish_for_it_was_lost(story: Story) -> None:
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    joins(story, chat)
    assert story.count(chat) == (5, "provisional")
    story.wanted.take_all()
    story.max.counts[MaxChatId(chat)] = 5
    story.after(20)
    assert story.count(chat) == (5, "confirmed")
    story.after(600)
    assert len(asked_about(story, chat)) == 2


def test_a_wish_that_is_not_lost_is_read_for_once(story: Story) -> None:
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    story.max.counts[MaxChatId(chat)] = 5
    joins(story, chat)
    story.after(60)
    assert len(asked_about(story, chat)) == 2


def test_who_asks_late_in_a_slow_read_has_another_one_made_at_once(story: Story) -> None:
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    story.max.seconds = 1.5
    story.do(story.wanted.ask([chat], Urgency.ASKED))
    story.after(1.3)
    story.max.seconds = 0.1
    story.max.counts[MaxChatId(chat)] = 9
    story.do(story.wanted.ask([chat], Urgency.ASKED))
    since_ms = int(story.clock.now().timestamp() * 1_000) - 1_000
    waiting = story.begin(story.waiting.wait([chat], since_ms, 2.0))
    story.after(0.6)
    assert waiting.done()
    assert waiting.result() == {chat}
    assert story.count(chat) == (9, "confirmed")
    story.after(20)
    assert len(asked_about(story, chat)) == 3


def test_who_asks_early_in_a_read_is_content_with_it(story: Story) -> None:
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    story.max.seconds = 1.5
    story.do(story.wanted.ask([chat], Urgency.ASKED))
    story.after(0.8)
    story.do(story.wanted.ask([chat], Urgency.ASKED))
    story.after(20)
    assert len(asked_about(story, chat)) == 2


def test_a_read_that_a_clock_set_back_makes_the_older_one_is_made_again(story: Story) -> None:
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    story.do(story.wanted.ask([chat], Urgency.ASKED))
    story.after(1)
    budget = story.parts.budget
    assert isinstance(budget, LocalBudget)
    budget.set_clock(budget.now_ms - 10_000)
    story.max.counts[MaxChatId(chat)] = 9
    story.do(story.wanted.ask([chat], Urgency.CHANGED))
    story.after(40)
    assert story.count(chat) == (9, "confirmed")
    assert len(asked_about(story, chat)) <= 8, "not without a pause"


def test_who_does_not_tell_the_rights_has_told_the_count_all_the_same(story: Story) -> None:
    [chat] = story.chats(4)

    async def failing(chat: MaxChatId, ready: Ready = at_once) -> Membership | None:
        del ready
        raise OutageError("max", f"no rights of {chat}")

    story.max.membership = failing  # type: ignore[method-assign]
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    assert story.count(chat) == (4, "confirmed")
    assert len(asked_about(story, chat)) == 1
    assert [said for said in story.watch.away if said] == []


def test_a_429_for_the_rights_makes_everybody_wait_too(story: Story) -> None:
    [chat] = story.chats(4)

    async def refusing(chat: MaxChatId, ready: Ready = at_once) -> Membership | None:
        del chat, ready
        raise busy()

    story.max.membership = refusing  # type: ignore[method-assign]
    story.begin(story.reader.run(story.stopping))
    story.after(1)
    assert story.count(chat) == (4, "confirmed")
    assert story.do(story.parts.budget.take(Urgency.ASKED)).wait_s > 0.5


def test_reads_that_break_together_are_one_failure_and_max_is_asked_again_a_second_later(story: Story) -> None:
    chats = story.chats(*range(1, 101))
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    story.max.seconds = 1.0
    story.do(story.wanted.ask(chats[:20], Urgency.ASKED))
    story.after(0.5)
    story.max.failing = lambda: OutageError("max", "the way to MAX was broken for a moment")
    story.after(1.0)
    story.max.failing = lambda: None
    story.do(story.wanted.ask([chats[50]], Urgency.ASKED))
    story.after(3.0)
    assert story.watch.away[-2:] == ["the way to MAX was broken for a moment", None]
    assert len(asked_about(story, chats[50])) == 2


def test_a_chat_whose_reads_always_fail_is_asked_about_ever_more_rarely(story: Story) -> None:
    bad, good = story.chats(4, 5)
    broken = fails_for(story, bad)
    story.begin(story.reader.run(story.stopping))
    story.do(story.wanted.ask([bad], Urgency.ASKED))
    for _ in range(1_200):
        story.do(story.wanted.ask([good], Urgency.ASKED))
        story.after(1)
    times = asked_about(story, bad)
    assert 8 <= len(times) <= 20
    assert times[-1] - times[-2] >= 250
    broken.clear()
    story.after(320)
    assert story.count(bad) == (4, "confirmed")


def test_who_asks_for_a_chat_that_fails_is_tried_for_at_once(story: Story) -> None:
    bad, good = story.chats(4, 5)
    broken = fails_for(story, bad)
    story.begin(story.reader.run(story.stopping))
    for _ in range(200):
        story.do(story.wanted.ask([good], Urgency.ASKED))
        story.after(1)
    broken.clear()
    story.do(story.wanted.ask([bad], Urgency.ASKED))
    story.after(2)
    assert story.count(bad) == (4, "confirmed")


@dataclass
class Reserved:
    """A budget that has leave for those alone who are waited for."""

    story: Story

    async def take(self, urgency: Urgency) -> Grant:
        return Grant(int(self.story.clock.now().timestamp() * 1_000), 0.0 if urgency is Urgency.ASKED else 60.0)

    async def refused(self, retry_after_s: float | None) -> None:
        raise AssertionError(retry_after_s)


@pytest.mark.parametrize("urgency", [Urgency.CHANGED, Urgency.TOP])
def test_a_reader_does_not_wait_behind_those_that_wait_for_leave(story: Story, urgency: Urgency) -> None:
    chats = story.chats(*range(1, 61))
    parts = replace(story.parts, budget=Reserved(story))
    reader = Reader(parts, story.planner, story.clock, most=50)
    if urgency is Urgency.CHANGED:
        story.do(story.wanted.ask(chats, urgency))
        story.after(2)
    story.begin(reader.run(story.stopping))
    story.after(5)
    assert story.max.asked == []
    for chat in chats:
        story.do(story.wanted.ask([chat], Urgency.ASKED))
        story.after(0.1)
    story.after(2)
    # Also those that had been claimed and waited for leave themselves.
    assert {chat for _, chat in story.max.asked} == {MaxChatId(chat) for chat in chats}
    assert story.max.twice_at_once == 0


def test_an_outage_of_the_database_alone_gives_no_slot_back(story: Story) -> None:
    [chat] = story.chats(4)
    note, failures = story.catalogue.note, ["once"]

    async def failing(chat: ChatId, told: Told) -> Entry | None:
        if failures:
            failures.clear()
            raise OutageError("mongodb", "away")
        return await note(chat, told)

    story.catalogue.note = failing  # type: ignore[method-assign]
    running = story.begin(story.reader.run(story.stopping))
    story.after(5)
    assert running.done()
    assert isinstance(running.exception(), OutageError)
    assert story.do(story.slots.keep()).slots
    story.begin(story.reader.run(story.stopping))
    story.after(10)
    entry = story.do(story.catalogue.by_max_chat([MaxChatId(chat)]))[MaxChatId(chat)]
    assert entry.count.count == 4


def test_one_outage_ends_the_reads_once_however_many_it_meets(story: Story) -> None:
    story.chats(*range(1, 11))

    async def failing(chat: ChatId, told: Told) -> Entry | None:
        raise OutageError("mongodb", f"away for {chat} {told}")

    note, story.catalogue.note = story.catalogue.note, failing  # type: ignore[method-assign]
    running = story.begin(story.reader.run(story.stopping))
    story.after(5)
    assert running.done()
    story.catalogue.note = note  # type: ignore[method-assign]
    again = story.begin(story.reader.run(story.stopping))
    story.after(30)
    assert not again.done()


def test_an_update_is_timed_from_when_it_was_due_and_not_from_when_its_turn_came() -> None:
    story = Story(most=1)
    first, second = story.chats(4, 5)
    story.begin(story.reader.run(story.stopping))
    story.after(10)
    story.max.seconds = 4.0
    story.do(story.wanted.ask([first], Urgency.ASKED))
    story.after(0.3)
    story.do(story.wanted.ask([second], Urgency.ASKED))
    story.after(10)
    assert story.watch.took[-1] == pytest.approx(7.7, abs=0.4)
    story.end()


@pytest.mark.parametrize("failure", [OutageError("max", "MAX answers 500"), busy()])
def test_an_update_whose_reads_fail_is_timed_from_when_it_was_wanted_first(story: Story, failure: Exception) -> None:
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    story.max.failing = lambda: failure
    joins(story, chat)
    story.after(100)
    story.max.failing = lambda: None
    story.after(300)
    answered_after = asked_about(story, chat)[-1] - 60
    assert answered_after >= 100
    assert story.watch.took[-1] == pytest.approx(answered_after, abs=2)


def test_a_wish_that_came_to_nothing_is_not_the_beginning_of_a_later_one(story: Story) -> None:
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    story.max.failing = lambda: OutageError("max", "MAX does not answer")
    story.do(story.wanted.ask([chat], Urgency.ASKED))
    story.after(100)
    story.max.failing = lambda: None
    story.after(600)
    assert len(story.watch.took) == 1, "nobody waits for it any more"
    story.do(story.wanted.ask([chat], Urgency.ASKED))
    story.after(10)
    assert story.watch.took[-1] < 2


def test_a_chats_first_read_is_no_change_that_events_have_missed(story: Story) -> None:
    story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(5)
    assert story.watch.reads == [(False, "other")]


def test_what_failed_while_max_was_away_is_read_soon_after_it_is_back() -> None:
    story = Story(safety_s=3_600)
    one, two = story.chats(4, 5)
    story.begin(story.reader.run(story.stopping))
    story.after(5)
    story.max.failing = lambda: OutageError("max", "MAX does not answer")
    story.do(story.wanted.ask([one, two], Urgency.ASKED))
    story.after(7_000)
    for chat in [one, two] * 10:
        story.do(story.wanted.ask([chat], Urgency.ASKED))
        story.after(31)
    assert story.watch.away[-1:] == ["MAX does not answer"]
    story.max.failing = lambda: None
    back = story.loop.time()
    story.after(80)
    assert all(asked_about(story, chat)[-1] >= back for chat in (one, two))
    story.end()
