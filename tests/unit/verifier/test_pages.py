"""What the page log must show of a walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatferry.verifier.domain.facts import Row
from chatferry.verifier.domain.pages import Page, PageChain

ROW = Row("source:chat:1", "chats", 1, "closed", 30, 30, 33, 0, None, run="r", watermark=99)
PAGES = [Page(1, 0, 40, 10, 0), Page(1, 40, 70, 10, 2), Page(1, 70, 100, 10, 1)]


def faults(pages: Sequence[Page], row: Row = ROW) -> dict[str, dict[str, Any]]:
    chain = PageChain()
    for page in pages:
        chain.add(page)
    return chain.faults(row)


def test_pages_from_the_first_id_to_the_watermark_prove_the_account() -> None:
    assert faults(PAGES) == {}
    assert faults([PAGES[0]._replace(lo=1), *PAGES[1:]]) == {}


def test_an_empty_chat_needs_no_page() -> None:
    empty = replace(ROW, claimed=0, listed=0, read=0, watermark=0)
    assert faults([], empty) == faults([Page(1, 0, 1, 0, 0)], empty) == {}


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_page_that_is_not_there_is_a_hole(lost: int) -> None:
    found = faults([page for number, page in enumerate(PAGES) if number != lost])
    assert found["hole"] == {"from": max(1, PAGES[lost].lo), "to": PAGES[lost].hi - 1}
    assert found["count"] == {"logged": 20, "listed": 30}


def test_ids_read_twice_are_an_overlap() -> None:
    assert faults([PAGES[0], PAGES[1]._replace(lo=39), PAGES[2]])["overlap"] == {"from": 39, "to": 39}
    assert set(faults([*PAGES, Page(1, 90, 101, 0, 0)])) == {"overlap", "watermark"}


def test_another_number_than_the_rows_is_named() -> None:
    assert faults([PAGES[0]._replace(listed=11), *PAGES[1:]])["count"] == {"logged": 31, "listed": 30}
    assert faults([PAGES[0]._replace(beside=1), *PAGES[1:]])["beside"] == {"logged": 4, "listed": 3}


def test_a_row_without_a_watermark_proves_nothing() -> None:
    assert "watermark" in faults(PAGES, replace(ROW, watermark=None))


def test_a_test_limit_may_leave_out_the_oldest_and_nothing_else() -> None:
    limited = replace(ROW, listed=20, read=23, limited=True)
    assert faults(PAGES[1:], limited) == {}
    assert "hole" in faults(PAGES[1:2], replace(limited, listed=10))


@given(st.lists(st.integers(1, 98), min_size=1, max_size=8, unique=True).map(sorted), st.data())
def test_any_cut_into_pages_is_whole_and_any_page_less_is_not(cuts: list[int], data: st.DataObject) -> None:
    ends = [0, *cuts, 100]
    pages = [Page(1, lo, hi, hi - lo, 0) for lo, hi in pairwise(ends)]
    row = replace(ROW, listed=100, read=100)
    assert faults(pages, row) == {}
    pages.remove(data.draw(st.sampled_from(pages)))
    assert "count" in faults(pages, row)
