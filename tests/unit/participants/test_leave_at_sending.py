"""The promise to MAX is about calls as they are sent, not as leave for them was given."""

from __future__ import annotations

import random

import pytest
from tests.unit.participants.story import Story

from chatferry.participants.domain.counts import MaxChatId
from chatferry.participants.domain.plan import Urgency


@pytest.mark.parametrize("seed", range(5))
def test_no_second_has_more_calls_than_max_allows_however_long_connections_take_to_open(seed: int) -> None:
    story, rng = Story(), random.Random(seed)
    story.max.opening = lambda: rng.choice((0.0, 0.0, 0.3, 0.7))
    chats = story.chats(*range(1, 201))
    story.do(story.wanted.ask(chats, Urgency.ASKED))
    story.begin(story.reader.run(story.stopping))
    story.after(25)
    called = sorted(story.max.called)
    assert len(called) >= 400, "the rights in each chat are asked for, too"
    assert all(called[n + 30] - called[n] > 0.999 for n in range(len(called) - 30))
    story.end()


def test_a_call_that_finds_no_leave_in_time_is_made_later_and_is_no_failure_of_max() -> None:
    story = Story(per_second=1)
    chats = story.chats(*range(1, 6))
    delays = iter([0.5] * 10)
    story.max.opening = lambda: next(delays, 0.0)
    story.do(story.wanted.ask(chats, Urgency.ASKED))
    story.begin(story.reader.run(story.stopping))
    story.after(60)
    assert {chat for _, chat in story.max.asked} == {MaxChatId(chat) for chat in chats}
    assert [told for told in story.watch.away if told is not None] == []
    story.end()
