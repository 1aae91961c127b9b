"""The marks between a list's pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatferry.chat.domain.items import SourceId
from chatferry.chat.domain.positions import ForeignMarkError, Marks

MARKS = Marks(b"a lasting secret")


@given(st.integers(-(2**53), 2**53))
def test_a_mark_leads_back_to_its_record(last: int) -> None:
    assert MARKS.read("chats ", MARKS.write("chats ", SourceId(last))) == last


@given(st.integers(0, 23), st.characters())
def test_a_changed_mark_is_refused(position: int, other: str) -> None:
    mark = MARKS.write("chats ", SourceId(1489))
    changed = mark[:position] + other + mark[position + 1 :]
    if changed != mark:
        with pytest.raises(ForeignMarkError):
            MARKS.read("chats ", changed)


@given(st.text(max_size=80))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ForeignMarkError):
        MARKS.read("chats ", text)


def test_a_mark_of_another_list_is_refused() -> None:
    mark = MARKS.write("chat_messages 1489", SourceId(7))
    with pytest.raises(ForeignMarkError):
        MARKS.read("chat_messages 1490", mark)


def test_a_mark_is_good_after_a_restart() -> None:
    assert Marks(b"a lasting secret").read("chats ", MARKS.write("chats ", SourceId(5))) == 5
