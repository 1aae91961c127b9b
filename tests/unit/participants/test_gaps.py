"""Since when events cannot be trusted: what may have been lost while nobody was subscribed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.unit.participants.story import Story
from tests.unit.participants.test_keeping import HERE, keep_subscribed, now_ms, story

from chatferry.common.errors import OutageError
from chatferry.participants.flow.keeping import TYPES
from chatferry.participants.ports import Marks

__all__ = ["story"]


def test_what_was_counted_while_a_subscription_was_made_is_doubtful_also_when_nobody_came_to_keep_that(
    story: Story,
) -> None:
    keep, subscribe, failing, made = story.catalogue.keep, story.max.subscribe, [True], list[int]()

    async def keeping(marks: Marks) -> None:
        if made and failing and failing.pop():
            raise OutageError("mongodb", "away")
        await keep(marks)

    async def slowly(url: str, secret: str, types: Sequence[str]) -> None:
        await story.clock.sleep(2.0)
        await subscribe(url, secret, types)
        made.append(now_ms(story))

    story.catalogue.keep, story.max.subscribe = keeping, slowly  # type: ignore[method-assign]
    # MAX has ended one that was kept.
    story.do(keep(Marks(subscribed=HERE.digest)))
    story.begin(story.reader.run(story.stopping))
    first = story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.after(10)
    assert isinstance(first.exception(), OutageError)
    story.trust.gap_ms = 0
    story.begin(story.keeper.stay_subscribed(HERE, story.stopping))
    story.begin(story.keeper.remember(story.stopping))
    story.after(10)
    marks = story.do(story.catalogue.marks())
    assert marks.gap_ms >= made[0], "not when it was found to be missing"
    assert story.trust.gap_ms == marks.gap_ms
    assert marks.subscribed == HERE.digest


def test_a_gap_that_was_found_while_the_marks_were_asked_for_is_not_undone_by_what_they_were(story: Story) -> None:
    marks = story.catalogue.marks

    async def late() -> Marks:
        found = await marks()
        await story.clock.sleep(1.0)
        return found

    story.catalogue.marks = late  # type: ignore[method-assign]
    story.begin(story.keeper.remember(story.stopping))
    story.after(0.5)
    story.trust.gap_ms = now_ms(story)
    found_ms = story.trust.gap_ms
    story.after(1.0)
    assert story.trust.gap_ms == found_ms


def test_while_no_subscription_can_be_made_nothing_is_trusted_and_why_is_told(story: Story) -> None:
    [chat] = story.chats(3)
    story.max.subscriptions = {HERE.url: TYPES}
    keep_subscribed(story)
    story.after(10)
    entry = story.view.entry(chat)
    assert entry is not None
    assert story.trust.of(entry)
    story.max.subscriptions.clear()
    story.max.subscribing = lambda: OutageError("max", "MAX does not take the subscription")
    story.after(700)
    assert story.unsubscribed[-1] == "MAX does not take the subscription"
    assert not story.trust.of(entry)
    assert now_ms(story) - story.trust.gap_ms < 40_000
    assert story.do(story.catalogue.marks()).gap_ms == story.trust.gap_ms
    story.max.subscribing = lambda: None
    story.after(40)
    assert story.unsubscribed[-1] is None


def test_one_failed_look_at_a_subscription_makes_nothing_doubtful_and_many_do(story: Story) -> None:
    story.max.subscriptions = {HERE.url: TYPES}
    keep_subscribed(story)
    story.after(10)
    story.max.looking = lambda: OutageError("max", "away")
    story.after(400)
    assert (story.trust.gap_ms, story.unsubscribed[-1]) == (0, "away")
    story.after(400)
    assert story.trust.gap_ms > 0


def test_all_replicas_hear_of_the_gap_that_one_has_found(story: Story) -> None:
    other = Story()
    story.do(story.keeper._begin_anew())
    marks = story.do(story.catalogue.marks())
    other.do(other.catalogue.keep(marks))
    other.begin(other.keeper.remember(other.stopping))
    other.after(1)
    assert other.trust.gap_ms == marks.gap_ms
    other.end()


def test_what_another_on_duty_has_begun_and_not_ended_is_done_anew(story: Story) -> None:
    keep_subscribed(story)
    story.after(10)
    # While Redis is away two may be on duty: the other one has subscribed, and was killed before it could say so.
    marks = story.do(story.catalogue.marks())
    story.do(story.catalogue.keep(replace(marks, subscribed="")))
    before = now_ms(story)
    story.after(301)
    marks = story.do(story.catalogue.marks())
    assert marks.subscribed == HERE.digest
    assert marks.gap_ms > before
