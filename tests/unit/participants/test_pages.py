"""A cursor goes on with the query that it came from, and nobody else can write one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatferry.participants.domain.pages import BrokenCursorError, Cursors, Place, Query, Sort

CURSORS = Cursors(b"a secret")
QUERY = Query(Sort.TITLE, descending=False, search="чат")
INT64 = st.integers(-(2**63), 2**63 - 1)
PLACES = st.tuples(st.none() | INT64 | st.text(st.characters(exclude_categories=["Cs"]), max_size=200), INT64)


@given(PLACES)
def test_a_cursor_is_read_as_it_was_written(place: Place) -> None:
    assert CURSORS.read(QUERY, CURSORS.write(QUERY, place)) == place


@given(PLACES, st.data())
def test_a_cursor_that_was_changed_in_any_character_is_refused(place: Place, data: st.DataObject) -> None:
    cursor = CURSORS.write(QUERY, place)
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.characters().filter(lambda char: char != cursor[at]))
    with pytest.raises(BrokenCursorError):
        CURSORS.read(QUERY, cursor[:at] + other + cursor[at + 1 :])


@given(st.text() | st.text(alphabet="abcXYZ019-_="))
def test_no_text_is_taken_for_a_cursor(text: str) -> None:
    with pytest.raises(BrokenCursorError):
        CURSORS.read(QUERY, text)


@pytest.mark.parametrize("more", ["=", "==", "\n", " ", "A", "%"])
def test_a_cursor_with_something_behind_it_is_refused(more: str) -> None:
    with pytest.raises(BrokenCursorError):
        CURSORS.read(QUERY, CURSORS.write(QUERY, ("я", 7)) + more)


@pytest.mark.parametrize(
    "other",
    [
        Query(Sort.CREATED, descending=False, search="чат"),
        Query(Sort.TITLE, descending=True, search="чат"),
        Query(Sort.TITLE, descending=False, search=""),
    ],
)
def test_a_cursor_of_another_query_is_refused(other: Query) -> None:
    with pytest.raises(BrokenCursorError):
        CURSORS.read(other, CURSORS.write(QUERY, ("я", 7)))


def test_a_cursor_of_another_service_is_refused() -> None:
    with pytest.raises(BrokenCursorError):
        CURSORS.read(QUERY, Cursors(b"another").write(QUERY, ("я", 7)))
