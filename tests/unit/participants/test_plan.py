"""When a chat is read without anybody's asking."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatferry.participants.domain.plan import Due, PlanRules, Standing, Urgency, due, last_night

RULES = PlanRules(update_s=900, safety_s=86_400, untrusted_s=300, full_hour=3, timezone=ZoneInfo("UTC"))
NIGHT = int(datetime(2026, 3, 1, 3, tzinfo=UTC).timestamp() * 1_000)
READ = NIGHT + 60_000


def standing(read_ms: int = READ, *, trusted: bool = True, top: bool = False, lost: bool = False) -> Standing:
    return Standing(read_ms, trusted, top, lost, spread=0.5)


def test_a_chat_that_was_never_read_is_due_at_once() -> None:
    assert due(standing(0), RULES, NIGHT) == Due(0, Urgency.SAFETY)
    assert due(standing(0, top=True), RULES, NIGHT) == Due(0, Urgency.TOP)


def test_an_active_chat_is_due_a_quarter_of_an_hour_after_its_last_read_whatever_that_was_for() -> None:
    assert due(standing(top=True), RULES, NIGHT) == Due(READ + 900_000, Urgency.TOP)


def test_what_was_not_read_since_three_in_the_night_is_due_then() -> None:
    assert due(standing(NIGHT - 1), RULES, NIGHT) == Due(NIGHT, Urgency.NIGHTLY)
    assert due(standing(NIGHT), RULES, NIGHT).urgency is not Urgency.NIGHTLY


def test_a_chat_whose_events_cannot_be_trusted_is_due_much_sooner() -> None:
    told, untold = due(standing(), RULES, NIGHT), due(standing(trusted=False), RULES, NIGHT)
    assert READ + 270_000 <= untold.at_ms <= READ + 300_000
    assert READ + 77_760_000 <= told.at_ms <= READ + 86_400_000


def test_a_chat_that_the_bot_was_put_out_of_is_looked_at_once_a_night() -> None:
    assert due(standing(trusted=False, top=True, lost=True), RULES, NIGHT) == Due(NIGHT + 86_400_000, Urgency.NIGHTLY)


@given(st.floats(0, 0.999), st.booleans(), st.booleans())
def test_no_chat_waits_longer_than_its_interval(spread: float, trusted: bool, top: bool) -> None:
    promised = min(RULES.safety_s if trusted else RULES.untrusted_s, RULES.update_s if top else RULES.safety_s)
    assert due(Standing(READ, trusted, top, False, spread), RULES, NIGHT).at_ms <= READ + promised * 1_000


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
    rules = PlanRules(900, 86_400, 300, 3, ZoneInfo(zone))
    assert last_night(datetime.fromisoformat(now), rules) == datetime.fromisoformat(begun)


@given(
    st.integers(1_704_067_200, 1_830_297_600),
    st.integers(0, 23),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
)
def test_there_is_a_nightly_pass_every_day(moment: int, hour: int, zone: str) -> None:
    now = datetime.fromtimestamp(moment, UTC)
    begun = last_night(now, PlanRules(900, 86_400, 300, hour, ZoneInfo(zone)))
    assert timedelta(0) <= now - begun <= timedelta(hours=25)


def test_what_events_have_moved_is_due_soon_though_nobody_asks() -> None:
    moved = replace(standing(), moved_ms=READ + 5_000)
    assert due(moved, RULES, NIGHT) == Due(READ + 15_000, Urgency.CHANGED)
