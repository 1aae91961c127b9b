"""Events for development: polls of the replica that holds slot 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from tests.unit.participants.story import Story

from chatferry.common.errors import OutageError
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.domain.updates import Update, read_update
from chatferry.participants.ports import Grant, Marks


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story()
    yield made
    made.end()


def now_ms(story: Story) -> int:
    return int(story.clock.now().timestamp() * 1_000)


@dataclass
class Polled:
    """Long polling that has these, and remembers the markers it was asked with."""

    updates_of: list[Update]
    story: Story
    seconds: float = 1.0
    there: int = 0
    markers: list[int | None] = field(default_factory=list)

    async def webhooks(self) -> int:
        return self.there

    async def updates(self, marker: int | None) -> tuple[Sequence[tuple[Update, bytes]], int | None]:
        self.markers.append(marker)
        await self.story.clock.sleep(self.seconds)
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


def test_polling_keeps_to_the_calls_that_are_allowed(story: Story) -> None:
    polled = Polled([], story)
    story.begin(story.reader.run(story.stopping))
    story.after(0.5)
    story.do(story.parts.budget.refused(5.0))
    story.begin(story.keeper.poll(polled, Inbox(), story.stopping))
    story.after(4)
    assert polled.markers == []
    story.after(4)
    assert polled.markers
    assert story.watch.calls.count("updates") == len(polled.markers)


def test_polls_that_are_answered_at_once_are_no_more_than_max_takes_in_a_second(story: Story) -> None:
    polled = Polled([], story, seconds=0.0)
    story.begin(story.reader.run(story.stopping))
    story.begin(story.keeper.poll(polled, Inbox(), story.stopping))
    story.after(10)
    assert 10 <= len(polled.markers) <= 20


def test_while_a_webhook_takes_the_events_nothing_is_polled_or_trusted_and_why_is_told(story: Story) -> None:
    polled = Polled([], story, there=1)
    story.do(story.catalogue.keep(Marks(0, 0)))
    story.begin(story.reader.run(story.stopping))
    story.begin(story.keeper.poll(polled, Inbox(), story.stopping))
    story.after(100)
    assert polled.markers == []
    assert now_ms(story) - story.do(story.catalogue.marks()).gap_ms < 31_000
    assert "webhook" in str(story.unsubscribed[-1])
    polled.there, ended_ms = 0, now_ms(story)
    story.after(40)
    assert polled.markers
    # What came between the last look and its end went to the webhook.
    assert story.do(story.catalogue.marks()).gap_ms > ended_ms
    assert story.unsubscribed[-1] is None


def test_a_webhook_that_ended_while_nobody_was_on_duty_leaves_a_gap_all_the_same(story: Story) -> None:
    polled = Polled([], story, there=1)
    story.do(story.catalogue.keep(Marks(0, 7)))
    story.begin(story.reader.run(story.stopping))
    first = story.begin(story.keeper.poll(polled, Inbox(), story.stopping))
    story.after(50)
    first.cancel()
    story.after(8)
    polled.there, ended_ms = 0, now_ms(story)
    story.begin(story.keeper.poll(polled, Inbox(), story.stopping))
    story.after(40)
    assert polled.markers[0] is None
    assert story.do(story.catalogue.marks()).gap_ms >= ended_ms


def test_whoever_is_off_duty_says_nothing_of_a_webhook(story: Story) -> None:
    polled = Polled([], story, there=1)
    story.begin(story.reader.run(story.stopping))
    story.begin(story.keeper.poll(polled, Inbox(), story.stopping))
    story.after(40)
    assert story.unsubscribed[-1] is not None
    story.hold(range(1, 64))
    story.after(40)
    assert story.unsubscribed[-1] is None


def test_who_lost_the_duty_after_an_outage_had_ended_the_work_says_nothing_of_a_webhook_either(story: Story) -> None:
    story.begin(story.reader.run(story.stopping))
    first = story.begin(story.keeper.poll(Polled([], story, there=1), Inbox(), story.stopping))
    story.after(10)
    assert story.unsubscribed[-1] is not None
    first.cancel()
    story.hold(range(1, 64))
    story.after(4)
    story.begin(story.keeper.poll(Polled([], story, there=1), Inbox(), story.stopping))
    assert story.unsubscribed[-1] is None


def test_a_poll_goes_out_in_the_moment_that_it_was_given_leave_for_however_slow_mongodb_is(story: Story) -> None:
    given: list[float] = []
    polled, take, marks = Polled([], story), story.parts.budget.take, story.parts.memory.marks

    async def taking(urgency: Urgency) -> Grant:
        grant = await take(urgency)
        given.append(story.clock.monotonic())
        return grant

    async def slow() -> Marks:
        await story.clock.sleep(2.0)
        return await marks()

    asked: list[float] = []
    updates = polled.updates

    async def noting(marker: int | None) -> tuple[Sequence[tuple[Update, bytes]], int | None]:
        asked.append(story.clock.monotonic())
        return await updates(marker)

    story.parts.budget.take = taking  # type: ignore[method-assign]
    story.parts.memory.marks = slow  # type: ignore[method-assign]
    polled.updates = noting  # type: ignore[method-assign]
    story.begin(story.reader.run(story.stopping))
    story.begin(story.keeper.poll(polled, Inbox(), story.stopping))
    story.after(30)
    assert len(asked) > 3
    assert set(asked) <= set(given)
