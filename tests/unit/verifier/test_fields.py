"""Differences are named by field, and never quote a content."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatferry.verifier.domain.fields import differences

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
records = st.dictionaries(st.sampled_from(["id", "text", "files", "sent_at"]), values, max_size=4)


@given(record=records)
def test_a_record_does_not_differ_from_itself(record: dict[str, Any]) -> None:
    assert differences(record, record) == []


@given(one=records, other=records)
def test_records_that_differ_have_a_named_field(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert bool(differences(one, other)) is (repr(one) != repr(other) and _plain(one) != _plain(other))


def _plain(record: dict[str, Any]) -> bytes:
    import orjson

    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


def test_a_text_cut_by_one_character_is_told_by_lengths_and_position() -> None:
    (found,) = differences({"text": "Привет!"}, {"text": "Привет"})
    assert (found.path, found.source_length, found.target_length, found.position) == ("text", 7, 6, 6)
    assert found.source_hash != found.target_hash
    assert "Привет" not in str(found)


@pytest.mark.parametrize(
    ("source", "target", "paths"),
    [
        ({"sent_at": {"utc": "a", "o": "b"}}, {"sent_at": {"utc": "c", "o": "b"}}, ["sent_at.utc"]),
        ({"files": [{"id": 1, "name": "x"}]}, {"files": [{"id": 1, "name": "y"}]}, ["files[0].name"]),
        ({"files": [{"id": 1}]}, {"files": []}, ["files"]),
        ({"participant_ids": [1, 2, 3]}, {"participant_ids": [1, 3]}, ["participant_ids"]),
        ({"author_id": 1}, {"author_id": None}, ["author_id"]),
        ({"author_id": 1}, {"author_id": True}, ["author_id"]),
        ({"reply_to": None}, {}, ["reply_to"]),
        ({}, {"more": None}, ["more"]),
        ({"a": {"x": 1}, "b": 1}, {"a": 2, "b": 2}, ["a", "b"]),
    ],
)
def test_the_field_is_named_as_deep_as_it_differs(
    source: dict[str, Any], target: dict[str, Any], paths: list[str]
) -> None:
    assert [found.path for found in differences(source, target)] == paths


def test_a_side_without_the_field_has_no_length_and_no_hash() -> None:
    (found,) = differences({"reply_to": None}, {})
    assert (found.source_length, found.target_length, found.target_hash) == (4, None, None)
