"""All chats in memory: the order of a page is that of sorting all of them, whatever changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.participants.readers import HandClock, MemoryCatalogue, confirmed, entry

from chatferry.participants.domain.catalogue import Entry, folded
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.pages import Place, Query, Sort
from chatferry.participants.view import View

TITLES = st.none() | st.sampled_from(["", "Ёлка", "елка", "Чат", "чат 2", "Café", "CAFE", "Я" * 300, "Я" * 299])
ENTRIES = st.builds(
    lambda chat, title, static, times: entry(
        chat, title, static=static, created_ms=times[0], activity_ms=times[1], max_chat=chat if chat < 0 else None
    ),
    st.integers(-8, 8).filter(bool),
    TITLES,
    st.integers(0, 3),
    st.tuples(st.none() | st.integers(0, 3), st.none() | st.integers(0, 3)),
)


async def _view(entries: Sequence[Entry]) -> tuple[View, HandClock]:
    clock = HandClock()
    view = View(clock)
    await view.follow(MemoryCatalogue(list(entries)))
    return view, clock


def _query(sort: Sort = Sort.TITLE, search: str = "", *, descending: bool = False) -> Query:
    return Query(sort, descending, folded(search))


def _all(view: View, query: Query, limit: int) -> list[int]:
    """Page by page."""
    found: list[int] = []
    after: Place | None = None
    while True:
        page = view.page(query, after, limit)
        assert len(page.entries) <= limit
        found += [one.id for one in page.entries]
        if page.end is None:
            assert page.total == len(found)
            return found
        assert len(page.entries) == limit
        after = page.end


def _sorted(entries: Mapping[int, Entry], query: Query) -> Sequence[int]:
    def value(one: Entry) -> str | int | None:
        if query.sort is Sort.TITLE:
            return None if one.title is None else folded(one.title)[:200]
        if query.sort is Sort.LAST_ACTIVITY:
            return one.activity_ms
        return one.count.count if query.sort is Sort.PARTICIPANTS else one.created_ms

    hits = [one for one in entries.values() if not query.search or query.search in folded(one.title or "\0")]
    valued = [(at, one.id) for one in hits if (at := value(one)) is not None]
    bare = sorted(one.id for one in hits if value(one) is None)
    return [chat for _, chat in sorted(valued, key=lambda place: place, reverse=query.descending)] + bare


@given(
    st.lists(st.tuples(ENTRIES, st.sampled_from([0.0, 0.1, 0.3]), st.booleans()), max_size=30),
    st.sampled_from(Sort),
    st.booleans(),
    st.sampled_from(["", "ч", "ЕЛКА", "cafe"]),
    st.integers(1, 7),
)
async def test_pages_are_those_of_sorting_all(
    changes: list[tuple[Entry, float, bool]], sort: Sort, descending: bool, search: str, limit: int
) -> None:
    view, clock = await _view([])
    catalogue, query = MemoryCatalogue(), _query(sort, search, descending=descending)
    kept: dict[int, Entry] = {}
    for change, seconds, gone in changes:
        told = replace(change, max_chat=None) if gone and change.id < 0 else change
        catalogue.entries.append(told)
        kept[change.id] = told
        if told.id < 0 and told.max_chat is None:
            del kept[change.id]
        await view.follow(catalogue)
        clock.seconds += seconds
        view.page(query, None, limit)  # somebody looks in between
    clock.seconds += 1
    assert _all(view, query, limit) == _sorted(kept, query)


async def test_more_changes_than_are_moved_one_by_one_are_sorted_anew() -> None:
    view, clock = await _view([entry(chat, f"chat {chat % 97:02d}") for chat in range(1, 2_001)])
    catalogue = MemoryCatalogue([entry(chat, f"chat {chat % 89:02d}") for chat in range(1, 1_501)])
    view.page(_query(), None, 1)
    for told in catalogue.entries:
        view.learn(told)
    clock.seconds += 1
    known = {one.id: one for one in view.entries()}
    assert _all(view, _query(), 100) == _sorted({int(chat): one for chat, one in known.items()}, _query())


@pytest.mark.parametrize(("search", "found"), [("ЁЛКА", [1, 2]), ("елк", [1, 2]), ("CAFÉ", [3]), ("нет", [])])
async def test_case_and_accents_make_no_difference_to_a_search(search: str, found: list[int]) -> None:
    view, _ = await _view([entry(1, "Ёлка"), entry(2, "новая елка"), entry(3, "Cafe\u0301"), entry(4, None)])
    assert sorted(_all(view, _query(search=search), 10)) == found


@pytest.mark.parametrize(
    ("title", "search"), [("𝐓𝐞𝐚𝐦 chat", "team"), ("Склад № 7", "no 7"), ("Acme™", "acmetm"), ("Straße", "STRASSE")]
)
async def test_letters_of_another_make_are_found_by_plain_ones(title: str, search: str) -> None:
    view, _ = await _view([entry(1, title)])
    assert _all(view, _query(search=search), 10) == [1]
    assert _all(view, _query(search=title), 10) == [1]


async def test_a_chat_is_in_its_new_place_a_moment_after_it_changed() -> None:
    view, clock = await _view([entry(1, "a"), entry(2, "b")])
    assert _all(view, _query(), 10) == [1, 2]
    view.learn(entry(1, "c"))
    clock.seconds += 0.3
    assert _all(view, _query(), 10) == [2, 1]


async def test_what_the_catalogue_had_before_our_own_read_does_not_undo_it() -> None:
    before = entry(1, max_chat=-1, counted=confirmed(7, age_s=60))
    view, _ = await _view([before])
    view.learn(replace(before, counted=confirmed(8)))
    await view.follow(MemoryCatalogue([before, before]))
    known = view.entry(ChatId(1))
    assert known is not None
    assert known.count.count == 8


async def test_nobody_learns_of_a_chat_that_the_catalogue_does_not_have() -> None:
    view, _ = await _view([])
    view.learn(entry(1))
    assert len(view) == 0
