"""Chats of which MAX tells nothing any more: how soon that is believed, and how often it is looked at."""

from __future__ import annotations

import orjson
import pytest
from tests.unit.participants.story import EPOCH, Story

from chatferry.participants.domain.counts import Answer, ChatId, Count, Mark, MaxChatId, Stamp, Verdict
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.domain.updates import read_update
from chatferry.participants.flow.planning import Planner
from chatferry.participants.ports import Told

LOST = pytest.mark.parametrize(
    ("answer", "mark"), [(Answer(Verdict.GONE, 9), "frozen"), (Answer(Verdict.DENIED), "denied")]
)


def lost(answer: Answer) -> tuple[Story, ChatId, float]:
    """A chat of 4 that was counted, and then refused at the time that is given too."""
    story = Story(safety_s=60)
    [chat] = story.chats(4)
    story.begin(story.reader.run(story.stopping))
    story.after(5)
    story.max.answers[MaxChatId(chat)] = answer
    story.after(70)
    return story, chat, story.max.asked[-1][0]


def asked_after(story: Story, moment: float) -> list[float]:
    return [at - moment for at, _ in story.max.asked if at > moment]


@LOST
def test_of_a_chat_that_max_tells_nothing_more_of_the_last_count_stays(answer: Answer, mark: str) -> None:
    story, chat, _ = lost(answer)
    assert story.count(chat) == (4, mark)
    story.end()


@LOST
def test_a_lost_chat_is_looked_at_again_after_ten_minutes_and_an_hour_and_then_once_a_night(
    answer: Answer, mark: str
) -> None:
    story, chat, refused = lost(answer)
    story.after(6_000)
    looks = asked_after(story, refused)
    assert looks == [pytest.approx(600, abs=6), pytest.approx(4_200, abs=12)]
    assert story.count(chat) == (4, mark)
    story.end()


@LOST
def test_a_refusal_that_was_a_mistake_costs_ten_minutes_and_not_a_day(answer: Answer, mark: str) -> None:
    story, chat, _ = lost(answer)
    assert story.count(chat)[1] == mark
    del story.max.answers[MaxChatId(chat)]
    story.max.counts[MaxChatId(chat)] = 6
    story.after(610)
    assert story.count(chat) == (6, "confirmed")
    asked = len(story.max.asked)
    story.after(180)
    assert len(story.max.asked) >= asked + 3, "it is read as any other"
    story.end()


@pytest.mark.parametrize("verdict", [Verdict.GONE, Verdict.DENIED])
@pytest.mark.parametrize("newer", ["catalogue", "cache"])
def test_what_stays_of_a_lost_chat_is_the_newer_of_what_cache_and_catalogue_have(verdict: Verdict, newer: str) -> None:
    story = Story()
    [chat] = story.chats(4)
    now_ms = int(story.clock.now().timestamp() * 1_000)
    older, later = (Count(count, Mark.CONFIRMED, Stamp(EPOCH - 1, now_ms + count)) for count in (10, 20))
    in_catalogue, in_cache = (later, older) if newer == "catalogue" else (older, later)
    story.do(story.counts.write(chat, in_cache))
    story.do(story.catalogue.note(chat, Told(count=in_catalogue)))
    story.max.answers[MaxChatId(chat)] = Answer(verdict, 9 if verdict is Verdict.GONE else None)
    story.begin(story.reader.run(story.stopping))
    story.after(3)
    count, mark = story.count(chat)
    assert (count, mark) == (20, "frozen" if verdict is Verdict.GONE else "denied")
    story.end()


def test_a_chat_that_is_lost_anew_is_looked_at_anew() -> None:
    story, chat, _ = lost(Answer(Verdict.DENIED))
    story.after(5_000)
    assert story.count(chat) == (4, "denied")
    max_chat = MaxChatId(chat)
    denied = story.max.answers.pop(max_chat)
    body = {"update_type": "bot_added", "chat_id": max_chat, "timestamp": int(story.clock.now().timestamp() * 1_000)}
    story.do(story.listener.apply([read_update(orjson.dumps(body))]))
    story.after(10)
    assert story.count(chat) == (4, "confirmed")
    story.max.answers[max_chat] = denied
    story.after(70)
    refused = story.max.asked[-1][0]
    story.after(4_500)
    assert asked_after(story, refused) == [pytest.approx(600, abs=6), pytest.approx(4_200, abs=12)]
    story.end()


def test_looks_at_chats_that_are_known_to_be_lost_are_counted_apart() -> None:
    story, chat, _ = lost(Answer(Verdict.DENIED))
    story.after(610)
    assert "lost" not in story.watch.calls, "what is not sure yet is a read as any other"
    before = len(story.watch.calls)
    story.do(story.wanted.ask([chat], Urgency.ASKED))
    story.after(5)
    assert story.watch.calls[before:] == ["lost"]
    story.end()


def test_a_replica_that_begins_looks_no_more_at_what_has_been_refused_for_longer_than_every_chat_is_read() -> None:
    story, _, _ = lost(Answer(Verdict.DENIED))
    story.after(5_000)
    story.reader.planner = Planner(story.view, story.trust, story.planner.rules, top_n=0)
    asked = len(story.max.asked)
    story.after(5_000)
    assert len(story.max.asked) == asked
    story.end()
