"""From raw rows to candidates: canonical, hashed, flagged, or rejected with the raw form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatferry.common.contracts.canonical import payload_hash
from chatferry.common.entities import ENTITIES
from chatferry.common.entities.chats import parse_chat, parse_message
from chatferry.common.entities.reading import Page, Understanding
from chatferry.common.entities.users import parse_user
from chatferry.extractor.domain.gaps import gap_reason
from chatferry.extractor.domain.records import Canonicalizer, mentioned_users, scrubbed

TOLD = Understanding("+03:00")
MESSAGES = Canonicalizer(ENTITIES["chat_messages"], parse_message, TOLD, 900_000)
ROW: dict[str, Any] = {"id": 5, "chat_id": 7, "author_id": 3, "date": "2026-03-04T09:42:31+03:00", "text": "да"}


def test_a_plain_row_becomes_a_candidate_with_key_and_hash() -> None:
    one = MESSAGES.row(ROW, {}, 7)
    assert (one.key, one.seq, one.parent, one.flags, one.code) == ("source:chat:msg:5", 5, 7, (), None)
    assert one.payload is not None
    assert one.hash == payload_hash(one.payload)


def test_a_lone_surrogate_is_replaced_and_the_record_is_flagged() -> None:
    one = MESSAGES.row({**ROW, "text": "half \ud83d of one, \ude00 and a whole 😀"}, {}, 7)
    assert one.payload is not None
    assert one.payload["text"] == "half � of one, � and a whole 😀"
    assert one.flags == ("altered",)


def test_a_date_without_offset_is_flagged_beside_it() -> None:
    assert MESSAGES.row({**ROW, "date": "2026-03-04T09:42:31", "text": "\ud83d"}, {}, 7).flags == (
        "assumed_offset",
        "altered",
    )


def test_a_hundred_kilobytes_are_no_reason_to_reject() -> None:
    one = MESSAGES.row({**ROW, "text": "я" * 100_000}, {}, 7)
    assert one.payload is not None
    assert one.payload["text"] == "я" * 100_000


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"id": None}, "record.no_id"),
        ({"date": "2024-02-30T25:61:00+03:00"}, "record.impossible_date"),
        ({"text": None}, "record.unreadable"),
        ({"chat_id": 8}, "record.wrong_parent"),
        ({"text": "x" * 1_000_000}, "record.too_large"),
    ],
)
def test_what_cannot_be_taken_is_rejected_with_its_raw_form(changes: dict[str, Any], code: str) -> None:
    row = {**ROW, **changes}
    one = MESSAGES.row(row, {}, 7)
    assert (one.payload, one.code, one.parent) == (None, code, 7)
    assert one.raw is not None
    assert json.loads(one.raw) == row


def test_a_reject_with_an_id_keeps_its_key_and_one_without_is_named_by_its_content() -> None:
    with_id = MESSAGES.row({**ROW, "text": None}, {}, 7)
    without = MESSAGES.row({**ROW, "id": ""}, {}, 7)
    again = MESSAGES.row({**ROW, "id": ""}, {}, 7)
    assert (with_id.key, with_id.seq) == ("source:chat:msg:5", 5)
    assert without.key.startswith("source:chat:msg:unidentified:")
    assert (without.key, without.seq) == (again.key, 0)


def test_a_raw_form_that_json_cannot_hold_is_kept_as_far_as_it_can() -> None:
    one = MESSAGES.row({**ROW, "id": 2**70, "text": "\ud83d"}, {}, 7)
    assert one.raw is not None
    assert json.loads(one.raw)["id"] == 2**70


def test_a_page_gives_one_candidate_a_row_rejects_too() -> None:
    page = Page(1, 9, [ROW, {**ROW, "id": 6, "date": "?"}], unidentified=[{"text": "?"}, "nothing of ours"])
    assert [one.code for one in MESSAGES.page(page, 7)] == [
        None,
        "record.impossible_date",
        "record.no_id",
        "record.no_id",
    ]


def test_the_size_of_a_file_beyond_all_measure_does_not_stop_the_page() -> None:
    files = {9: {"id": 9, "name": "x", "size": 2**80}}
    one = MESSAGES.row({**ROW, "params": {"FILE_ID": [9]}}, {"files": files}, 7)
    assert one.payload is not None or one.code == "record.unreadable"


def test_users_without_an_id_are_rejected_as_such() -> None:
    users = Canonicalizer(ENTITIES["users"], parse_user, TOLD, 900_000)
    assert users.row({"NAME": "?"}, {}, None).code == "record.no_id"


def test_mentioned_users_are_those_of_readable_records() -> None:
    chats = Canonicalizer(ENTITIES["chats"], parse_chat, TOLD, 900_000)
    chat = chats.row({"id": 7, "owner": 1, "participant_ids": [2]}, {}, None)
    broken = chats.row({"id": 8, "owner": 9, "date_create": "?"}, {}, None)
    assert mentioned_users(ENTITIES["chats"], [chat, broken]) == {1, 2}
    assert mentioned_users(ENTITIES["chat_messages"], [MESSAGES.row(ROW, {}, 7)]) == {3}


@given(st.text(st.one_of(st.characters(), st.sampled_from("\ud800\ud83d\udbff")), max_size=30))
def test_scrubbing_changes_lone_surrogates_and_nothing_else(text: str) -> None:
    clean = scrubbed(text)
    clean.encode()
    assert clean == scrubbed(clean)
    assert len(clean) == len(text)
    assert all(new == old or "\ud800" <= old <= "\udfff" for new, old in zip(clean, text, strict=True))


def test_the_halves_of_one_character_side_by_side_are_that_character() -> None:
    assert scrubbed("\ud83d\ude00") == "😀"


def test_scrubbing_reaches_into_lists_and_maps() -> None:
    assert scrubbed({"a\ud800": ["\udfff", 5, None]}) == {"a�": ["�", 5, None]}


@pytest.mark.parametrize(
    ("claimed", "listed", "limited", "words"),
    [
        (5, 5, False, None),
        (5, 3, False, "counts 2 more than it shows (2 walks): hidden history"),
        (3, 5, False, "shows 2 more than it counts"),
        (5, 3, True, "test limit"),
    ],
)
def test_a_gap_has_a_reason(claimed: int, listed: int, limited: bool, words: str | None) -> None:
    reason = gap_reason(claimed, listed, limited=limited, walks=2)
    assert reason is None if words is None else words in str(reason)
