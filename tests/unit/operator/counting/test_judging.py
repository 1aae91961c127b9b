"""What was served, held against the truth: each way to be wrong is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chatferry.operator.counting.judging import Measured, Seen, Truth, differences, judge
from chatferry.operator.counting.platform import Calls, Moves

CHAT = -7
GOOD = (Measured(100, 0, 12.345, 5_000, 4_999), Calls(400, 390, 27, 0, 0), Moves(40, 2))


def truth(*steps: tuple[int, int | None], until: int = 10_000) -> Truth:
    made = Truth()
    made.take(until, {CHAT: list(steps)})
    return made


def seen(max_chat: int | None, count: int, state: str = "fresh") -> Seen:
    return Seen(max_chat or 1, max_chat, count, state, 5)


def test_a_count_is_right_that_was_so_at_any_moment_of_the_call() -> None:
    known = truth((0, 5), (1_000, 6), (2_000, 7))
    assert known.right(CHAT, 5, 900, 950)
    assert known.right(CHAT, 5, 990, 1_010), "it changed while the reader waited"
    assert known.right(CHAT, 6, 990, 1_010)
    assert known.right(CHAT, 7, 2_000, 2_001)


def test_a_count_of_before_the_call_or_of_after_it_is_wrong() -> None:
    known = truth((0, 5), (1_000, 6), (2_000, 7))
    assert known.right(CHAT, 5, 1_001, 1_010) is False
    assert known.right(CHAT, 6, 900, 999) is False
    assert known.right(CHAT, 9, 0, 9_000) is False


def test_where_the_bot_was_put_out_the_last_count_that_it_saw_is_right() -> None:
    known = truth((0, 5), (1_000, 6), (2_000, None))
    assert known.right(CHAT, 6, 3_000, 3_010)
    assert known.right(CHAT, 5, 3_000, 3_010) is False


def test_of_a_chat_whose_count_nobody_could_see_nothing_is_judged() -> None:
    assert truth((0, None)).right(CHAT, 5, 100, 110) is None
    assert truth((0, 5)).right(-99, 5, 100, 110) is None


def test_what_moved_is_told_once_although_it_is_asked_for_again() -> None:
    known = truth((0, 5), until=1_000)
    assert known.since_ms == 0
    assert known.take(2_000, {CHAT: [(0, 5), (1_500, 6)]}) == [(CHAT, (1_500, 6))]
    assert known.since_ms == 1_000
    assert known.take(2_300, {CHAT: [(0, 5), (1_500, 6)]}) == []
    assert known.now(CHAT) == 6


def test_two_moves_within_a_millisecond_are_both_known() -> None:
    known = truth((0, 5), until=1_000)
    known.take(2_000, {CHAT: [(0, 5), (2_000, 6)]})
    assert known.take(2_100, {CHAT: [(0, 5), (2_000, 6), (2_000, 7)]}) == [(CHAT, (2_000, 7))]
    assert known.now(CHAT) == 7


def test_moves_come_in_the_order_of_their_moments() -> None:
    known = Truth()
    known.take(1_000, {-1: [(0, 5)], -2: [(0, 5)]})
    moved = known.take(2_000, {-1: [(0, 5), (1_900, 6)], -2: [(0, 5), (1_800, 6)]})
    assert [chat for chat, _ in moved] == [-2, -1]


def test_every_replica_must_serve_every_count_as_it_is() -> None:
    counts = {-1: 5, -2: 6}
    right, late = [seen(-1, 5), seen(-2, 6), seen(None, 99, "static")], [seen(-1, 4, "provisional"), seen(-2, 6)]
    assert differences(counts, [right, right]) == []
    assert differences(counts, [right, late]) == ["replica 2 serves 4 (provisional) for chat -1, which has 5"]
    assert differences(counts, [right[:1]]) == ["replica 1 does not list chat -2, which has 6"]


def test_a_chat_that_the_bot_is_out_of_is_not_compared() -> None:
    assert differences({-1: 5}, [[seen(-1, 5), seen(-2, 123, "frozen")]]) == []


def test_a_good_run_has_nothing_wrong() -> None:
    verdict = judge([], *GOOD)
    assert verdict.wrong == []
    assert verdict.as_json() == {
        "exact_after_quiet": True,
        "fresh_share": 0.9998,
        "served_requests": 100,
        "p99_ms": 12.35,
        "max_calls_in_any_second": 27,
        "calls_total": 400,
        "duplicate_reads": 0,
        "events_missed_share": 0.05,
        "failed_requests": 0,
        "changes": 40,
    }


@pytest.mark.parametrize(
    ("different", "calls", "sentence"),
    [
        (["replica 1 serves 4"], GOOD[1], "some counts were wrong after the quiet"),
        ([], replace(GOOD[1], most_in_a_second=31), "MAX was called 31 times within a second, and allows 30"),
        ([], replace(GOOD[1], twice_at_once=2), "2 reads were begun while another of the same chat was under way"),
    ],
)
def test_a_wrong_count_or_a_limit_that_was_exceeded_is_no_success(
    different: list[str], calls: Calls, sentence: str
) -> None:
    assert judge(different, GOOD[0], calls, GOOD[2]).wrong == [sentence]


def test_the_limit_itself_may_be_reached() -> None:
    assert judge([], GOOD[0], replace(GOOD[1], most_in_a_second=30), GOOD[2]).wrong == []
