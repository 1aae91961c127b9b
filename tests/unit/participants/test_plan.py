"""When a chat is read without anybody's asking."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatferry.participants.domain.plan import Due, PlanRules, Standing, Urgency, due, last_night, pass_at

RULES = PlanRules(update_s=900, safety_s=86_400, untrusted_s=300, fresh_s=3_600, full_hour=3, timezone=ZoneInfo("UTC"))
NIGHT = int(datetime(2026, 3, 1, 3, tzinfo=UTC).timestamp() * 1_000)
READ = NIGHT + 60_000
QUARTER_MS = 900_000
PASS = pass_at(NIGHT + QUARTER_MS, RULES, 25)


def standing(read_ms: int = READ, *, trusted: bool = True, top: bool = False) -> Standing:
    return Standing(read_ms, trusted, top, spread=0.5)


def test_a_chat_that_was_never_read_is_due_at_once() -> None:
    assert due(standing(0), RULES, NIGHT, PASS) == Due(0, Urgency.SAFETY)
    assert due(standing(0, top=True), RULES, NIGHT, PASS) == Due(0, Urgency.TOP)


@pytest.mark.parametrize("after_s", [0, 0.1, 450, 899.9])
def test_passes_begin_at_multiples_of_the_interval_whoever_looks_and_when(after_s: float) -> None:
    begun = NIGHT + QUARTER_MS
    assert pass_at(begun + int(after_s * 1_000), RULES, 25).begun_ms == begun


def test_an_active_chat_that_was_not_read_since_the_pass_before_is_due_when_the_pass_begins() -> None:
    assert due(standing(PASS.begun_ms - 2 * QUARTER_MS, top=True), RULES, 0, PASS) == Due(PASS.begun_ms, Urgency.TOP)


def test_an_active_chat_that_an_event_had_confirmed_since_the_pass_before_is_left_out_of_this_one() -> None:
    confirmed = standing(PASS.begun_ms - 300_000, top=True)
    assert due(confirmed, RULES, NIGHT, PASS).urgency is Urgency.SAFETY
    following = pass_at(PASS.begun_ms + QUARTER_MS, RULES, 25)
    assert due(confirmed, RULES, NIGHT, following) == Due(following.begun_ms, Urgency.TOP)


def test_what_a_pass_has_read_is_due_in_the_next_pass_and_not_again_in_its_own() -> None:
    read = standing(PASS.begun_ms + 2_000, top=True)
    assert due(read, RULES, NIGHT, PASS).urgency is Urgency.SAFETY
    following = pass_at(PASS.begun_ms + QUARTER_MS, RULES, 25)
    assert due(read, RULES, NIGHT, following) == Due(following.begun_ms, Urgency.TOP)


def test_a_pass_over_so_many_chats_that_it_takes_long_is_due_to_all_of_them_the_next_time() -> None:
    late = standing(PASS.begun_ms - QUARTER_MS + 200_000, top=True)
    assert due(late, RULES, 0, pass_at(PASS.begun_ms, RULES, 25)).urgency is Urgency.SAFETY
    assert due(late, RULES, 0, pass_at(PASS.begun_ms, RULES, 2_500)).urgency is Urgency.TOP


def test_a_pass_leaves_nobody_out_whose_count_would_be_stale_before_the_next() -> None:
    seldom = replace(RULES, update_s=2_700)
    turn = pass_at(NIGHT + 2 * 2_700_000, seldom, 25)
    earlier, later = turn.begun_ms - 1_000_000, turn.begun_ms - 800_000
    assert due(standing(earlier, top=True), seldom, 0, turn) == Due(turn.begun_ms, Urgency.TOP)
    assert due(standing(later, top=True), seldom, 0, turn).urgency is Urgency.SAFETY


def test_an_active_chat_without_trusted_events_keeps_its_sooner_turn_and_is_left_out_of_the_pass() -> None:
    polled = standing(PASS.begun_ms - 100_000, trusted=False, top=True)
    told = due(polled, RULES, NIGHT, PASS)
    assert told.urgency is Urgency.SAFETY
    assert told.at_ms <= polled.read_ms + 300_000


def test_what_was_not_read_since_three_in_the_night_is_due_then() -> None:
    assert due(standing(NIGHT - 1), RULES, NIGHT, PASS) == Due(NIGHT, Urgency.NIGHTLY)
    assert due(standing(NIGHT), RULES, NIGHT, PASS).urgency is not Urgency.NIGHTLY


def test_a_chat_whose_events_cannot_be_trusted_is_due_much_sooner() -> None:
    told, untold = due(standing(), RULES, NIGHT, PASS), due(standing(trusted=False), RULES, NIGHT, PASS)
    assert READ + 270_000 <= untold.at_ms <= READ + 300_000
    assert NIGHT + 86_400_000 <= told.at_ms <= READ + 86_400_000


def test_the_nights_pass_is_the_safety_read_of_whatever_it_comes_soon_enough_for() -> None:
    for read_after_h in (0.1, 2, 9, 20):
        read = standing(NIGHT + int(read_after_h * 3_600_000))
        assert due(read, RULES, NIGHT, PASS).at_ms == read.read_ms + 86_400_000, "the pass comes before that"
    seldom, often = replace(RULES, safety_s=90_000), replace(RULES, safety_s=43_200)
    assert due(standing(), seldom, NIGHT, PASS).at_ms == READ + 90_000_000
    assert READ + 38_880_000 <= due(standing(), often, NIGHT, PASS).at_ms <= READ + 43_200_000


def reads_of(spread: float, rules: PlanRules, begin_ms: int, days: int) -> list[int]:
    """When a chat is read that nothing happens in, by a replica that looks once a minute and is slow by chance."""
    read, reads, rng = Standing(begin_ms, trusted=True, top=False, spread=spread), [begin_ms], Random(spread)
    for now_ms in range(begin_ms, begin_ms + days * 86_400_000, 60_000):
        night = int(last_night(datetime.fromtimestamp(now_ms / 1_000, UTC), rules).timestamp() * 1_000)
        if due(read, rules, night, pass_at(now_ms, rules, 25)).at_ms <= now_ms:
            read = replace(read, read_ms=now_ms + rng.randrange(0, 60_000))
            reads.append(read.read_ms)
    return reads


@pytest.mark.parametrize("spread", [0.0, 0.4, 0.999])
@pytest.mark.parametrize("read_after_h", [1, 7, 23])
def test_a_quiet_chat_is_read_once_a_day(spread: float, read_after_h: int) -> None:
    reads = reads_of(spread, RULES, NIGHT + read_after_h * 3_600_000, days=6)
    assert len(reads) == 1 + 6, "of six nights each once"
    assert max(after - before for before, after in pairwise(reads)) <= 86_400_000 + 120_000


def test_where_the_interval_is_shorter_than_a_day_no_chat_waits_for_the_night() -> None:
    often = replace(RULES, safety_s=43_200)
    reads = reads_of(0.5, often, NIGHT + 3_600_000, days=6)
    assert max(after - before for before, after in pairwise(reads)) <= 43_200_000 + 120_000
    assert len(reads) <= 1 + 3 * 6


def test_where_a_night_is_an_hour_later_no_chat_waits_longer_than_its_interval() -> None:
    berlin = replace(RULES, timezone=ZoneInfo("Europe/Berlin"))
    begin_ms = int(datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp() * 1_000)
    reads = reads_of(0.5, berlin, begin_ms, days=4)
    assert max(after - before for before, after in pairwise(reads)) <= 86_400_000 + 120_000
    assert len(reads) <= 1 + 4 + 1


@pytest.mark.parametrize(("refusals", "after_s"), [(1, 600), (2, 3_600)])
def test_what_one_read_says_of_a_lost_chat_is_looked_at_again_soon_and_then_later(refusals: int, after_s: int) -> None:
    lost = replace(standing(trusted=False, top=True), lost=refusals)
    assert due(lost, RULES, NIGHT, PASS) == Due(READ + after_s * 1_000, Urgency.SAFETY)


def test_a_chat_of_which_several_reads_say_that_it_is_lost_is_looked_at_once_a_night() -> None:
    lost = replace(standing(trusted=False, top=True), lost=3)
    assert due(lost, RULES, NIGHT, PASS) == Due(NIGHT + 86_400_000, Urgency.NIGHTLY)


def test_the_night_comes_before_a_look_that_would_be_later() -> None:
    refused = replace(standing(NIGHT - 60_000), lost=2)
    assert due(refused, RULES, NIGHT, PASS) == Due(NIGHT, Urgency.NIGHTLY)


@given(st.floats(0, 0.999), st.booleans())
def test_no_chat_waits_longer_than_its_interval(spread: float, trusted: bool) -> None:
    promised = RULES.safety_s if trusted else RULES.untrusted_s
    assert due(Standing(READ, trusted, top=False, spread=spread), RULES, NIGHT, PASS).at_ms <= READ + promised * 1_000


@given(st.integers(1, 3_600), st.integers(0, 10_000_000), st.integers(0, 100_000))
def test_while_a_chat_is_active_no_other_pass_goes_by_and_it_never_becomes_stale(
    every_s: int, read_after_ms: int, top_n: int
) -> None:
    rules = replace(RULES, update_s=every_s)
    read = standing(NIGHT + read_after_ms, top=True)
    turn = pass_at(read.read_ms, rules, top_n)
    assert due(read, rules, NIGHT, turn).urgency is not Urgency.TOP, "it was read in it"
    while (told := due(read, rules, NIGHT, turn)).urgency is not Urgency.TOP:
        turn = pass_at(turn.begun_ms + every_s * 1_000, rules, top_n)
    assert told.at_ms <= read.read_ms + min(2 * every_s, rules.fresh_s) * 1_000


@pytest.mark.parametrize(
    ("zone", "now", "begun"),
    [
        ("UTC", "2026-03-01T03:00:00+00:00", "2026-03-01T03:00:00+00:00"),
        ("UTC", "2026-03-01T02:59:59+00:00", "2026-02-28T03:00:00+00:00"),
        ("Europe/Moscow", "2026-03-01T00:00:01+00:00", "2026-03-01T00:00:00+00:00"),
        # Clocks went from 2 to 3 o'clock that night.
        ("Europe/Berlin", "2026-03-29T12:00:00+00:00", "2026-03-29T01:00:00+00:00"),
    ],
)
def test_the_nightly_pass_begins_by_the_clock_of_its_time_zone(zone: str, now: str, begun: str) -> None:
    rules = replace(RULES, timezone=ZoneInfo(zone))
    assert last_night(datetime.fromisoformat(now), rules) == datetime.fromisoformat(begun)


@given(
    st.integers(1_704_067_200, 1_830_297_600),
    st.integers(0, 23),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
)
def test_there_is_a_nightly_pass_every_day(moment: int, hour: int, zone: str) -> None:
    now = datetime.fromtimestamp(moment, UTC)
    begun = last_night(now, replace(RULES, full_hour=hour, timezone=ZoneInfo(zone)))
    assert timedelta(0) <= now - begun <= timedelta(hours=25)


def test_what_events_have_moved_is_due_soon_though_nobody_asks() -> None:
    moved = replace(standing(), moved_ms=READ + 5_000)
    assert due(moved, RULES, NIGHT, PASS) == Due(READ + 15_000, Urgency.CHANGED)
