"""What is understood of MAX's updates."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatferry.participants.domain.updates import BrokenUpdateError, Effect, read_update

CHAT = -70801090403050


def body(**fields: Any) -> bytes:
    return orjson.dumps({"update_type": "user_added", "timestamp": 1_780_000_010_000, "chat_id": CHAT, **fields})


def test_the_user_who_came_is_the_one_in_user_and_not_the_one_beside_it() -> None:
    update = read_update(body(user_id=1, user={"user_id": 301301301, "first_name": "Anna"}))
    assert (update.chat, update.user_id, update.delta) == (CHAT, 301301301, 1)


def test_a_leaving_takes_one_away() -> None:
    assert read_update(body(update_type="user_removed", user={"user_id": 5}, admin_id=None)).delta == -1


def test_the_same_event_again_has_the_same_identity_and_another_user_has_another() -> None:
    once, again = read_update(body(user={"user_id": 5})), read_update(body(user={"user_id": 5}, is_channel=False))
    assert once.identity == again.identity
    assert read_update(body(user={"user_id": 6})).identity != once.identity


@pytest.mark.parametrize(
    ("rights", "trusted"),
    [
        ({"is_admin": True, "permissions": ["write", "read_all_messages"]}, True),
        ({"is_admin": True, "permissions": ["write"]}, False),
        ({"is_admin": False, "permissions": None}, False),
        ({"is_admin": None}, False),
    ],
)
def test_events_are_trusted_where_the_bot_is_an_administrator_who_reads_all(
    rights: dict[str, Any], trusted: bool
) -> None:
    update = read_update(body(update_type="bot_admin_permissions_changed", user_id=1, bot_id=2, **rights))
    assert (update.effect, update.trusted) == (Effect.RIGHTS, trusted)


def test_the_chat_of_a_message_stands_in_its_recipient() -> None:
    message = {"recipient": {"chat_id": CHAT, "chat_type": "chat"}, "body": {"text": "secret"}}
    update = read_update(body(update_type="message_created", chat_id=None, message=message))
    assert (update.effect, update.chat) == (Effect.ALIVE, CHAT)


def test_of_a_type_that_nobody_knows_its_chat_and_its_moment_are_told_where_they_can_be_read() -> None:
    update = read_update(body(update_type="of_tomorrow"))
    assert (update.effect, update.chat, update.at_ms) == (Effect.NOTHING, CHAT, 1_780_000_010_000)
    odd = read_update(body(update_type="of_tomorrow", chat_id={"id": 1}, timestamp="soon"))
    assert (odd.chat, odd.at_ms) == (None, 0)


def test_a_type_nobody_knows_is_no_fault_and_means_nothing() -> None:
    assert read_update(body(update_type="comment_sparkled", novel={"deep": [1]})).effect is Effect.NOTHING


@pytest.mark.parametrize("fields", [{"message": "a string"}, {"timestamp": None}, {"chat_id": "x"}, {"user": [1]}])
def test_what_a_type_nobody_knows_carries_is_not_looked_at(fields: dict[str, Any]) -> None:
    update = read_update(body(update_type="comment_sparkled", **fields))
    assert (update.type, update.effect) == ("comment_sparkled", Effect.NOTHING)


def test_a_type_nobody_knows_needs_no_time() -> None:
    assert read_update(b'{"update_type":"comment_sparkled"}').effect is Effect.NOTHING


@pytest.mark.parametrize("chat", [2**63, -(2**63) - 1])
@pytest.mark.parametrize("place", ["recipient", "chat"])
def test_a_chat_that_no_64_bits_can_name_is_refused_wherever_it_stands(place: str, chat: int) -> None:
    inner = {"chat_id": chat}
    fields = {"message": {"recipient": inner}} if place == "recipient" else {"chat": inner}
    told = {"update_type": "message_created", "timestamp": 5, **fields}
    with pytest.raises(BrokenUpdateError):
        read_update(json.dumps(told).encode())


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        body(timestamp="soon"),
        body(timestamp=-1),
        body(chat_id=2**63),
        body(chat_id=None),
        body(update_type=""),
        body(user=[1]),
    ],
)
def test_a_body_that_is_no_update_is_refused_in_a_sentence(broken: bytes) -> None:
    with pytest.raises(BrokenUpdateError):
        read_update(broken)


def test_the_sentence_does_not_repeat_what_came() -> None:
    with pytest.raises(BrokenUpdateError) as refused:
        read_update(body(user={"user_id": "+7 900 123-45-67"}))
    assert "900" not in str(refused.value)
    assert "user.user_id" in str(refused.value)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
        lambda value: repr(value).encode()
    )
)
def test_whatever_comes_it_is_an_update_or_refused(came: bytes) -> None:
    with contextlib.suppress(BrokenUpdateError):
        assert read_update(came).at_ms >= 0
