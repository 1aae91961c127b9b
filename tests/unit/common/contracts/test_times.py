"""Times in three forms."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatferry.common.contracts.times import ImpossibleDateError, SourceTime, offset_of, source_time


@pytest.mark.parametrize(
    ("original", "utc", "offset", "assumed"),
    [
        ("2026-03-04T09:42:31+03:00", "2026-03-04T06:42:31Z", "+03:00", False),
        ("2026-03-04 09:42:31+0300", "2026-03-04T06:42:31Z", "+03:00", False),
        ("2026-01-01T00:30:00+05:45", "2025-12-31T18:45:00Z", "+05:45", False),
        ("2026-01-01T00:30:00-03:30", "2026-01-01T04:00:00Z", "-03:30", False),
        ("2026-03-04T09:42:31Z", "2026-03-04T09:42:31Z", "+00:00", False),
        ("2026-03-04T09:42:31", "2026-03-04T06:42:31Z", "+03:00", True),
        ("2026-03-04T09:42:31.250+03:00", "2026-03-04T06:42:31.250Z", "+03:00", False),
    ],
)
def test_a_date_in_its_three_forms(original: str, utc: str, offset: str, assumed: bool) -> None:
    forms, was_assumed = source_time(original, "+03:00")
    assert forms == {"source_original": original, "utc": utc, "original_offset": offset}
    assert was_assumed is assumed
    SourceTime.model_validate(forms)


@pytest.mark.parametrize(
    "original",
    ["2024-02-30T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z", "2024-01-01", "2024-01-01T00:00:00+15:00"],
)
def test_a_date_that_does_not_exist_is_refused_without_being_quoted(original: str) -> None:
    with pytest.raises(ImpossibleDateError) as refused:
        source_time(original, "+00:00")
    assert "2024" not in str(refused.value)


@given(st.integers(0, 4_000_000_000), st.integers(-14 * 60, 14 * 60))
def test_utc_is_the_same_moment(seconds: int, minutes: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    sign, rest = ("-", -minutes) if minutes < 0 else ("+", minutes)
    original = f"{moment:%Y-%m-%dT%H:%M:%S}{sign}{rest // 60:02}:{rest % 60:02}"
    forms, _ = source_time(original, "+00:00")
    assert datetime.fromisoformat(forms["utc"]) == datetime.fromisoformat(original)


def test_the_portals_offset_is_that_of_its_clock() -> None:
    assert offset_of("2024-08-05T09:02:13+03:00") == "+03:00"
    with pytest.raises(ImpossibleDateError):
        offset_of("2024-08-05T09:02:13")
