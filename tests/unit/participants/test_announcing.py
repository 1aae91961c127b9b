"""What the replica that holds slot 0 tells the topic."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.participants.story import Story

from chatferry.common.errors import OutageError


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story()
    yield made
    made.end()


def test_every_change_is_announced_and_none_twice(story: Story) -> None:
    chats = story.chats(3, 4)
    story.begin(story.reader.run(story.stopping))
    story.begin(story.keeper.announce(story.stopping))
    story.after(10)
    told = [(one.chat, one.count.count) for one in story.told.changes if one.count is not None]
    assert sorted(told) == sorted(zip(chats, (3, 4), strict=True))


def test_what_kafka_did_not_take_is_announced_later(story: Story) -> None:
    [chat] = story.chats(3)
    story.told.failing = 1
    story.begin(story.reader.run(story.stopping))
    first = story.begin(story.keeper.announce(story.stopping))
    story.after(10)
    assert isinstance(first.exception(), OutageError)
    story.begin(story.keeper.announce(story.stopping))
    story.after(1)
    assert [one.chat for one in story.told.changes] == [chat]
