"""What the replica that holds slot 0 does for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from tests.unit.participants.story import Story

from chatferry.common.errors import OutageError
from chatferry.participants.domain.updates import Update, read_update
from chatferry.participants.flow.keeping import Subscription

HERE = Subscription("https://bot.example/max/updates", "a-secret-of-tests", check_every_s=300)


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story()
    yield made
    made.end()


def test_a_subscription_that_is_missing_is_made_and_what_was_counted_before_is_doubtful(story: Story) -> None:
    story.begin(story.reader.run(story.stopping))
    story.after(5)
    story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(5)
    assert story.max.subscriptions == [HERE.url]
    gap = story.do(story.catalogue.marks()).gap_ms
    assert gap > 0
    assert story.trust.gap_ms == gap


def test_one_that_is_there_is_left_alone(story: Story) -> None:
    story.max.subscriptions = [HERE.url]
    story.begin(story.reader.run(story.stopping))
    story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(1_000)
    assert story.max.subscriptions == [HERE.url]
    assert story.do(story.catalogue.marks()).gap_ms == 0


def test_one_that_max_has_ended_is_made_anew_within_minutes(story: Story) -> None:
    story.begin(story.reader.run(story.stopping))
    story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(10)
    story.max.subscriptions.clear()
    story.after(301)
    assert story.max.subscriptions == [HERE.url]


def test_a_replica_that_is_not_on_duty_subscribes_to_nothing(story: Story) -> None:
    story.hold(range(1, 64))
    story.begin(story.reader.run(story.stopping))
    story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(30)
    assert story.max.subscriptions == []


def test_all_replicas_hear_of_the_gap_that_one_has_found(story: Story) -> None:
    other = Story()
    story.do(story.keeper._begin_anew())
    marks = story.do(story.catalogue.marks())
    other.do(other.catalogue.keep(marks))
    other.begin(other.keeper.remember(other.stopping))
    other.after(1)
    assert other.trust.gap_ms == marks.gap_ms
    other.end()


def test_every_change_is_announced_and_none_twice(story: Story) -> None:
    chats = story.chats(3, 4)
    story.begin(story.reader.run(story.stopping))
    story.begin(story.keeper.announce(story.stopping))
    story.after(10)
    assert sorted((one.chat, one.count.count) for one in story.told.changes) == sorted(zip(chats, (3, 4), strict=True))


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


@dataclass
class Polled:
    """Long polling that has these, and remembers the markers it was asked with."""

    updates_of: list[Update]
    story: Story
    markers: list[int | None] = field(default_factory=list)

    async def updates(self, marker: int | None) -> tuple[Sequence[tuple[Update, bytes]], int | None]:
        self.markers.append(marker)
        await self.story.clock.sleep(1)
        begin = marker or 0
        some = self.updates_of[begin : begin + 2]
        return [(one, b"{}") for one in some], begin + len(some)


@dataclass
class Inbox:
    """Takes all but the first `failing`."""

    failing: int = 0
    taken: list[Update] = field(default_factory=list)

    async def put(self, update: Update, body: bytes) -> None:
        assert body
        if self.failing:
            self.failing -= 1
            raise OutageError("kafka", "Kafka is away")
        self.taken.append(update)


def test_polling_gives_up_events_only_once_kafka_has_them(story: Story) -> None:
    told = [read_update(b'{"update_type":"user_added","timestamp":%d,"chat_id":-5}' % at) for at in range(5)]
    polled, inbox = Polled(told, story), Inbox(failing=1)
    story.begin(story.reader.run(story.stopping))
    story.after(0.5)
    first = story.begin(story.keeper.poll(polled, inbox, story.stopping))
    story.after(3)
    assert isinstance(first.exception(), OutageError)
    story.begin(story.keeper.poll(polled, inbox, story.stopping))
    story.after(10)
    assert polled.markers[:3] == [None, None, 2]
    assert {one.at_ms for one in inbox.taken} == {0, 1, 2, 3, 4}
