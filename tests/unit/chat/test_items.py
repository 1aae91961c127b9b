"""What an item of a batch must be."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.chat.records import chat, item, message

from chatferry.chat.domain.items import (
    Item,
    RefusedItemError,
    SourceId,
    Stored,
    TargetId,
    document_of,
    kinds_of,
    source_id,
    standing,
    waves,
)

CHATS = kinds_of("chats")
MESSAGES = CHATS["chat_messages"]
ROOM = 2**20


def refusal(data: dict[str, Any], **fields: Any) -> RefusedItemError:
    with pytest.raises(RefusedItemError) as refused:
        document_of(MESSAGES, cast("Item", {**item("chat_messages", data), **fields}), ROOM)
    return refused.value


def test_a_good_item_becomes_a_document_with_version_and_hash() -> None:
    good = item("chat_messages", message(7, 1489), version=12)
    document = document_of(MESSAGES, good, ROOM)
    assert (document["_id"], document["version"], document["hash"]) == (7, 12, good["hash"])


def test_the_key_must_be_the_records() -> None:
    assert refusal(message(7, 1), key="source:chat:msg:8").code == "KEY_MISMATCH"
    assert refusal(message(7, 1), key="source:chat:7").code == "KEY_MISMATCH"


def test_the_hash_must_be_the_datas() -> None:
    assert refusal(message(7, 1), hash="0" * 64).code == "HASH_MISMATCH"


def test_a_moment_that_does_not_exist_is_refused_without_being_repeated() -> None:
    time = {"source_original": "secret", "utc": "2026-02-30T00:00:00Z", "original_offset": "+03:00"}
    wrong = refusal(message(7, 1, sent_at=time))
    assert wrong.code == "INVALID_DATA"
    assert "2026" not in wrong.sentence


def test_a_record_too_large_for_the_store_is_refused() -> None:
    assert refusal(message(7, 1, text="x" * ROOM)).code == "RECORD_TOO_LARGE"


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**53 - 1])
def test_numbers_up_to_2_to_the_53_are_kept(number: int) -> None:
    document = document_of(MESSAGES, item("chat_messages", message(number, 1)), ROOM)
    assert document["_id"] == number


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**63])
def test_numbers_beyond_are_refused(number: int) -> None:
    assert refusal(message(7, 1, reactions=[{"reaction": "like", "user_ids": [number]}])).code == "INVALID_DATA"


def test_a_chat_of_ten_thousand_members_is_kept() -> None:
    members = list(range(10_000))
    document = document_of(CHATS["chats"], item("chats", chat(1, participant_ids=members)), ROOM)
    assert document["members"] == members


@given(st.lists(st.sampled_from("abc")))
def test_rounds_hold_each_key_once_and_in_order(keys: list[str]) -> None:
    rounds = waves(keys)
    assert sorted(position for one in rounds for position in one) == list(range(len(keys)))
    assert all(len({keys[position] for position in one}) == len(one) for one in rounds)
    for key in "abc":
        assert [p for one in rounds for p in one if keys[p] == key] == [p for p, k in enumerate(keys) if k == key]


def test_only_an_older_version_gives_way() -> None:
    stored = Stored(TargetId(1), 5)
    assert [standing(stored, version) for version in (4, 5, 6)] == ["stale", "unchanged", None]


@pytest.mark.parametrize(
    ("key", "number"),
    [("source:chat:1489", 1489), ("source:chat:-3", -3), ("source:chat:0", 0), ("source:chat:9007199254740992", 2**53)],
)
def test_a_key_is_read_as_it_was_written(key: str, number: int) -> None:
    assert source_id("source:chat:", key) == SourceId(number)


@pytest.mark.parametrize(
    "key", ["", "1489", "source:chat:", "source:chat:01", "source:chat:+1", "source:chat:1 ", "source:chat:msg:5",
            "source:chat:-0", "source:chat:٣", "source:chat:9007199254740993", "source:chat:" + "9" * 30]
)  # fmt: skip
def test_any_other_text_is_no_key(key: str) -> None:
    assert source_id("source:chat:", key) is None
