"""What may take the place of a count, and what a reader is told of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatferry.participants.domain.counts import (
    Answer,
    Count,
    Mark,
    Stamp,
    State,
    Verdict,
    frozen,
    hinted,
    of_answer,
    replaces,
    state_of,
)

HOUR_MS = 3_600_000
CONFIRMED = Count(10, Mark.CONFIRMED, Stamp(1, 5_000))
stamps = st.builds(Stamp, st.integers(1, 3), st.integers(0, 50))


def test_a_confirmed_count_is_fresh_for_an_hour_and_stale_after_it() -> None:
    assert state_of(CONFIRMED, 5_000 + HOUR_MS, HOUR_MS) is State.FRESH
    assert state_of(CONFIRMED, 5_001 + HOUR_MS, HOUR_MS) is State.STALE


@pytest.mark.parametrize("mark", [Mark.PROVISIONAL, Mark.FROZEN, Mark.DENIED, Mark.STATIC])
def test_a_count_that_is_not_confirmed_says_what_it_is_however_young(mark: Mark) -> None:
    assert state_of(Count(10, mark, Stamp(1, 5_000)), 5_000, HOUR_MS).value == mark.value


def test_a_static_count_was_never_asked_for() -> None:
    assert Count(3, Mark.STATIC).updated_at_ms is None


@given(st.lists(stamps, min_size=1))
def test_whatever_the_order_in_which_reads_end_the_one_started_last_in_the_newest_epoch_stays(
    came: list[Stamp],
) -> None:
    known = None
    for stamp in came:
        new = Count(stamp.started_ms, Mark.CONFIRMED, stamp)
        if replaces(new, known):
            known = new
    assert known is not None
    assert known.stamp == max(came)


def test_a_read_of_a_chat_that_is_gone_freezes_what_was_known() -> None:
    assert of_answer(Answer(Verdict.GONE, 3), CONFIRMED, Stamp(2, 9)) == Count(10, Mark.FROZEN, Stamp(2, 9), 5_000)


def test_a_read_that_is_denied_keeps_what_was_known_and_how_old_it_is_however_often() -> None:
    denied = of_answer(Answer(Verdict.DENIED), CONFIRMED, Stamp(2, 90_000))
    assert denied == Count(10, Mark.DENIED, Stamp(2, 90_000), 5_000)
    assert of_answer(Answer(Verdict.DENIED), denied, Stamp(2, 180_000)).updated_at_ms == 5_000


def test_what_max_has_never_told_has_no_time_after_a_refusal() -> None:
    assert of_answer(Answer(Verdict.DENIED), Count(4, Mark.STATIC), Stamp(2, 9)).updated_at_ms is None


def test_a_refusal_does_not_hide_that_the_bot_was_put_out() -> None:
    out = Count(10, Mark.FROZEN, Stamp(1, 5))
    assert of_answer(Answer(Verdict.DENIED), out, Stamp(2, 9)).mark is Mark.FROZEN


def test_a_read_brings_a_frozen_count_back_to_life() -> None:
    out = Count(10, Mark.FROZEN, Stamp(1, 5))
    assert of_answer(Answer(Verdict.COUNTED, 7), out, Stamp(2, 9)) == Count(7, Mark.CONFIRMED, Stamp(2, 9))


def test_an_event_moves_a_count_and_keeps_when_it_was_read() -> None:
    assert hinted(CONFIRMED, 1, 5_001) == Count(11, Mark.PROVISIONAL, CONFIRMED.stamp)


def test_an_event_that_a_later_read_has_counted_changes_nothing() -> None:
    assert hinted(CONFIRMED, 1, 5_000) is None
    assert frozen(CONFIRMED, 5_000) is None


@pytest.mark.parametrize("mark", [Mark.STATIC, Mark.FROZEN, Mark.DENIED])
def test_only_what_max_has_confirmed_is_moved(mark: Mark) -> None:
    assert hinted(Count(10, mark, Stamp(1, 5)), 1, 99) is None


def test_no_number_of_leaving_members_makes_a_count_negative() -> None:
    assert hinted(Count(0, Mark.PROVISIONAL, Stamp(1, 5)), -1, 99) == Count(0, Mark.PROVISIONAL, Stamp(1, 5))
