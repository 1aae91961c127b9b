"""What the replica that holds slot 0 does for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.unit.participants.story import Story, busy

from chatferry.common.errors import OutageError
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.flow.keeping import TYPES, Subscription
from chatferry.participants.ports import Marks, MaxRefusedError

HERE = Subscription("https://bot.example/max/updates", "a-secret-of-tests", check_every_s=300)


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story()
    yield made
    made.end()


def keep_subscribed(story: Story) -> None:
    story.begin(story.reader.run(story.stopping))
    story.begin(story.keeper.stay_subscribed(HERE, story.stopping))


def now_ms(story: Story) -> int:
    return int(story.clock.now().timestamp() * 1_000)


def test_a_subscription_that_is_missing_is_made_and_what_was_counted_before_is_doubtful(story: Story) -> None:
    story.begin(story.reader.run(story.stopping))
    story.after(5)
    story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(5)
    assert list(story.max.subscriptions) == [HERE.url]
    gap = story.do(story.catalogue.marks()).gap_ms
    assert gap > 0
    assert story.trust.gap_ms == gap


def test_one_that_is_there_is_made_again_once_for_its_secret_may_be_another_and_nothing_is_doubtful(
    story: Story,
) -> None:
    story.max.subscriptions = {HERE.url: TYPES}
    keep_subscribed(story)
    story.after(1_000)
    assert story.max.secrets == [HERE.secret]
    assert story.do(story.catalogue.marks()).gap_ms == 0


def test_looks_and_subscriptions_count_as_calls_so_that_errors_are_a_share_of_all(story: Story) -> None:
    keep_subscribed(story)
    story.after(10)
    assert story.watch.calls.count("subscription") == 2
    story.after(300)
    assert story.watch.calls.count("subscription") == 3


def test_whoever_comes_on_duty_does_not_subscribe_again_with_the_secret_that_max_has(story: Story) -> None:
    keep_subscribed(story)
    story.after(400)
    story.hold(range(1, 64))
    story.after(400)
    story.hold(range(64))
    story.after(400)
    assert len(story.max.secrets) == 1


def test_another_secret_is_told_max_and_nothing_is_doubtful_for_that(story: Story) -> None:
    keep_subscribed(story)
    story.after(10)
    gap_ms = story.trust.gap_ms
    other = replace(HERE, secret="another-secret-of-tests")
    story.begin(story.keeper.stay_subscribed(other, story.stopping))
    story.after(10)
    assert story.max.secrets == [HERE.secret, other.secret]
    assert story.trust.gap_ms == gap_ms


def test_the_secret_itself_is_not_kept(story: Story) -> None:
    keep_subscribed(story)
    story.after(10)
    marks = story.do(story.catalogue.marks())
    assert marks.subscribed is not None
    assert HERE.secret not in str(marks)


def test_a_subscription_of_which_mongodb_could_not_be_told_is_made_again(story: Story) -> None:
    story.max.subscriptions = {HERE.url: TYPES}
    keep, failing = story.catalogue.keep, [True]

    async def keeping(marks: Marks) -> None:
        if failing and failing.pop():
            raise OutageError("mongodb", "away")
        await keep(marks)

    story.catalogue.keep = keeping  # type: ignore[method-assign]
    story.begin(story.reader.run(story.stopping))
    first = story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(10)
    assert isinstance(first.exception(), OutageError)
    story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(400)
    assert len(story.max.secrets) == 2


def test_one_that_lacks_types_is_none(story: Story) -> None:
    keep_subscribed(story)
    story.after(10)
    story.max.subscriptions = {HERE.url: TYPES[1:]}
    begun = now_ms(story)
    story.after(301)
    assert story.max.subscriptions == {HERE.url: TYPES}
    assert story.trust.gap_ms > begun


def test_who_cannot_even_look_at_the_start_trusts_nothing(story: Story) -> None:
    story.max.looking = MaxRefusedError
    keep_subscribed(story)
    story.after(100)
    assert now_ms(story) - story.trust.gap_ms < 40_000
    assert "CHATFERRY_MAX_TOKEN" in (story.unsubscribed[-1] or "")


def test_a_429_to_it_makes_everybody_wait(story: Story) -> None:
    refusals = iter([busy()])
    story.max.looking = lambda: next(refusals, None)
    keep_subscribed(story)
    story.after(0.5)
    assert story.do(story.parts.budget.take(Urgency.ASKED)).wait_s > 1


def test_off_duty_nothing_is_told_of_it_any_more(story: Story) -> None:
    story.max.looking = lambda: OutageError("max", "away")
    keep_subscribed(story)
    story.after(10)
    story.hold(range(1, 64))
    story.after(40)
    assert story.unsubscribed[-1] is None


def test_who_lost_the_duty_after_an_outage_had_ended_the_work_tells_nothing_of_it_any_more(story: Story) -> None:
    story.max.looking = lambda: OutageError("max", "away")
    story.begin(story.reader.run(story.stopping))
    first = story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(10)
    assert story.unsubscribed[-1] is not None
    first.cancel()
    story.hold(range(1, 64))
    story.after(4)
    story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    assert story.unsubscribed[-1] is None


def test_one_that_max_has_ended_is_made_anew_within_minutes(story: Story) -> None:
    story.begin(story.reader.run(story.stopping))
    story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(10)
    story.max.subscriptions.clear()
    story.after(301)
    assert list(story.max.subscriptions) == [HERE.url]


def bring_events(story: Story, seconds: int, every_s: int = 60) -> None:
    """To some replica, which says so."""
    for _ in range(seconds // every_s):
        story.after(every_s)
        story.do(story.catalogue.heard(now_ms(story)))


def test_while_events_come_a_look_an_hour_is_enough(story: Story) -> None:
    keep_subscribed(story)
    story.after(10)
    assert story.watch.calls.count("subscription") == 2
    bring_events(story, 3_480)
    assert story.watch.calls.count("subscription") == 2
    bring_events(story, 240)
    assert story.watch.calls.count("subscription") == 3
    bring_events(story, 3_300)
    assert story.watch.calls.count("subscription") == 3


def test_five_minutes_after_the_last_event_there_is_a_look(story: Story) -> None:
    keep_subscribed(story)
    story.after(10)
    bring_events(story, 600, every_s=200)
    story.max.subscriptions.clear()
    ended_ms = now_ms(story)
    story.after(295)
    assert story.max.subscriptions == {}
    story.after(10)
    assert list(story.max.subscriptions) == [HERE.url]
    assert story.trust.gap_ms > ended_ms


def test_events_that_come_make_a_later_failed_look_no_reason_to_doubt(story: Story) -> None:
    story.max.subscriptions = {HERE.url: TYPES}
    keep_subscribed(story)
    story.after(10)
    bring_events(story, 1_200)
    story.max.looking = lambda: OutageError("max", "away")
    story.after(400)
    assert (story.trust.gap_ms, story.unsubscribed[-1]) == (0, "away")
    story.after(300)
    assert story.trust.gap_ms > 0


def test_a_moment_without_mongodb_costs_a_look_and_nothing_that_was_known_of_the_subscription(story: Story) -> None:
    story.max.subscriptions = {HERE.url: TYPES}
    story.begin(story.reader.run(story.stopping))
    keeping = story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(10)
    bring_events(story, 240)
    looks, marks = story.watch.calls.count("subscription"), story.parts.memory.marks

    async def away() -> Marks:
        raise OutageError("mongodb", "away")

    story.parts.memory.marks = away  # type: ignore[method-assign]
    story.after(60)
    story.parts.memory.marks = marks  # type: ignore[method-assign]
    assert not keeping.done()
    assert story.watch.calls.count("subscription") == looks + 1
    assert story.max.secrets == [HERE.secret]
    story.max.looking = lambda: OutageError("max", "away")
    story.after(310)
    assert (story.trust.gap_ms, story.unsubscribed[-1]) == (0, "away")


def test_a_moment_that_is_yet_to_come_says_nothing_of_events(story: Story) -> None:
    keep_subscribed(story)
    story.after(10)
    story.do(story.catalogue.heard(now_ms(story) + 3_600_000))
    story.max.subscriptions.clear()
    story.after(301)
    assert list(story.max.subscriptions) == [HERE.url]


def test_events_are_no_excuse_for_a_look_that_has_failed(story: Story) -> None:
    story.max.subscriptions = {HERE.url: TYPES}
    keep_subscribed(story)
    story.after(10)
    story.max.looking = lambda: OutageError("max", "away")
    story.after(310)
    looks = story.watch.calls.count("subscription")
    bring_events(story, 120)
    assert story.watch.calls.count("subscription") >= looks + 3


def test_an_event_that_came_to_this_replica_is_known_to_all_within_seconds(story: Story) -> None:
    story.begin(story.keeper.remember(story.stopping))
    story.after(10)
    assert story.do(story.catalogue.marks()).heard_ms == 0
    story.hearing.came = True
    story.after(2)
    heard_ms = story.do(story.catalogue.marks()).heard_ms
    assert now_ms(story) - heard_ms <= 2_000
    story.hearing.came = True
    story.after(2)
    assert story.do(story.catalogue.marks()).heard_ms == heard_ms, "not for every event"
    story.after(4)
    assert story.do(story.catalogue.marks()).heard_ms > heard_ms


def test_a_replica_that_is_not_on_duty_subscribes_to_nothing(story: Story) -> None:
    story.hold(range(1, 64))
    story.begin(story.reader.run(story.stopping))
    story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(30)
    assert story.max.subscriptions == {}


@pytest.mark.parametrize("events_on", [True, False])
def test_while_max_is_away_a_service_that_nobody_asks_calls_often_enough_for_on_call_to_be_woken(
    events_on: bool,
) -> None:
    story = Story(events_on=events_on)
    story.chats(*range(2, 102))
    story.begin(story.reader.run(story.stopping))
    if events_on:
        story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(600)
    story.max.failing = story.max.looking = lambda: OutageError("max", "away")
    story.after(480)
    before = len(story.watch.calls)
    story.after(600)
    assert len(story.watch.calls) - before > 10
    story.end()
