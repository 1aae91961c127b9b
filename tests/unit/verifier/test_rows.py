"""What an operator's acceptance covers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from chatferry.verifier.domain.facts import Acceptance, Get, Row

ACCEPTED = Acceptance(by="olga", at=datetime(2026, 1, 1, tzinfo=UTC), reason="history hidden", gap=3, state="closed")
ROW = Row("source:chat:1", "chats", 1, "closed", 10, 7, 7, 3, "hidden history", ACCEPTED)


def test_an_acceptance_holds_while_gap_and_state_are_what_was_accepted() -> None:
    assert ROW.lacks
    assert ROW.accepted_by == "olga"


@pytest.mark.parametrize("row", [replace(ROW, gap=4), replace(ROW, gap=-3), replace(ROW, state="unreadable")])
def test_an_acceptance_of_another_gap_or_state_is_none(row: Row) -> None:
    assert row.accepted_by is None
    assert row.lacks


@pytest.mark.parametrize("state", ["listed", "walking", "wanted", "unknown"])
def test_an_open_walk_is_accepted_by_nobody(state: str) -> None:
    row = replace(ROW, state=state, accepted=replace(ACCEPTED, state=state))
    assert row.open
    assert row.accepted_by is None


@pytest.mark.parametrize("state", ["failed", "unreadable", "unresolvable"])
def test_what_was_given_up_can_be_accepted_without_a_gap(state: str) -> None:
    row = replace(ROW, state=state, gap=0, accepted=replace(ACCEPTED, state=state, gap=0))
    assert (row.open, row.lacks, row.accepted_by) == (False, True, "olga")


def test_a_row_that_the_newest_whole_get_did_not_read_is_not_closed() -> None:
    row = replace(ROW, run="run-1")
    stale = row.since(Get("run-2", whole=True))
    assert (stale.open, stale.accepted_by) == (True, None)
    assert "run-1" in str(stale.reason)


@pytest.mark.parametrize("get", [None, Get("run-1", whole=True), Get("run-2", whole=False)])
def test_a_row_stands_as_it_is_without_a_newer_whole_get(get: Get | None) -> None:
    row = replace(ROW, run="run-1")
    assert row.since(get) is row


def test_a_stranger_is_of_no_run() -> None:
    assert ROW.since(Get("run-2", whole=True)) is ROW


def test_a_closed_row_lacks_something_only_with_a_gap() -> None:
    assert not replace(ROW, gap=0).lacks
