"""Raw rows of the portal become canonical records: every odd form of design data.md §1."""

from __future__ import annotations

from typing import Any

import pytest

from chatferry.common.contracts.canonical import payload_hash
from chatferry.common.contracts.records import Chat, ChatMessage, User
from chatferry.common.entities.chats import CHAT_MESSAGES, CHATS, bury_message, parse_chat, parse_message
from chatferry.common.entities.reading import Understanding, map_of, rows_of, whole, wholes
from chatferry.common.entities.users import parse_im_user, parse_user
from chatferry.common.errors import RejectError

MOSCOW = Understanding("+03:00")
ROW: dict[str, Any] = {
    "id": 84869,
    "chat_id": 1489,
    "author_id": 503,
    "date": "2026-03-04T09:42:31+03:00",
    "text": "Привет, [USER=547]Анна[/USER]!",
    "params": {"LIKE": [547]},
}


def message(**changes: Any) -> dict[str, Any]:
    return parse_message({**ROW, **changes}, {}, MOSCOW).payload


def test_the_example_of_the_design_has_the_hash_of_the_design() -> None:
    assert payload_hash(message()) == "0ad4bf97ad729e690c13a71f970a245cc4cfbe5cc641ca5b7b487409fd72048d"


def test_every_field_of_a_message_is_there_and_of_its_type() -> None:
    ChatMessage.model_validate(message())
    assert message(params=[])["reactions"] == []


@pytest.mark.parametrize("author", [0, "0", None, "", False])
def test_without_an_author_it_is_a_system_message(author: Any) -> None:
    assert (message(author_id=author)["author_id"], message(author_id=author)["system"]) == (None, True)


def test_a_missing_author_is_a_system_message() -> None:
    row = {name: value for name, value in ROW.items() if name != "author_id"}
    assert parse_message(row, {}, MOSCOW).payload["system"] is True


def test_a_date_without_offset_is_read_with_the_portals() -> None:
    parsed = parse_message({**ROW, "date": "2026-03-04T09:42:31"}, {}, MOSCOW)
    assert parsed.flags == ("assumed_offset",)
    assert parsed.payload["sent_at"] == {
        "source_original": "2026-03-04T09:42:31",
        "utc": "2026-03-04T06:42:31Z",
        "original_offset": "+03:00",
    }


@pytest.mark.parametrize(
    "date", ["2024-02-30T25:61:00+03:00", "yesterday", "", None, 1709534551, "0001-01-01T00:00:00+03:00"]
)
def test_an_impossible_date_is_rejected(date: Any) -> None:
    with pytest.raises(RejectError) as reject:
        message(date=date)
    assert reject.value.code == "record.impossible_date"


@pytest.mark.parametrize("number", [None, 0, "", "x", -1, True, 2**53 + 1, [1]])
def test_without_an_id_it_is_rejected(number: Any) -> None:
    with pytest.raises(RejectError) as reject:
        message(id=number)
    assert reject.value.code == "record.no_id"


@pytest.mark.parametrize("changes", [{"text": None}, {"text": 5}, {"chat_id": 0}, {"chat_id": None}])
def test_without_a_text_or_a_chat_it_is_unreadable(changes: dict[str, Any]) -> None:
    with pytest.raises(RejectError) as reject:
        message(**changes)
    assert reject.value.code == "record.unreadable"


def test_a_reject_says_nothing_of_the_record() -> None:
    with pytest.raises(RejectError) as reject:
        parse_message({"id": None, "text": "secret words"}, {}, MOSCOW)
    assert "secret" not in str(reject.value)


def test_control_characters_and_long_texts_are_kept_whole() -> None:
    text = "null \x00 bell \x07 escape \x1b next line \x85 " + "я" * 100_000
    assert message(text=text)["text"] == text


def test_files_are_sorted_and_those_the_page_lacks_have_only_their_id() -> None:
    files = {7: {"id": 7, "name": "план.pdf", "size": 12}}
    parsed = parse_message({**ROW, "params": {"FILE_ID": ["9", 7, 7]}}, {"files": files}, MOSCOW)
    assert parsed.payload["files"] == [
        {"id": 7, "name": "план.pdf", "size_bytes": 12, "mime_type": None},
        {"id": 9, "name": None, "size_bytes": None, "mime_type": None},
    ]


def test_answers_edits_deletions_and_forwards_are_read_from_the_parameters() -> None:
    params = {
        "REPLY_ID": "5",
        "IS_EDITED": "Y",
        "IS_DELETED": "Y",
        "FORWARD_ID": 3,
        "FORWARD_CONTEXT_ID": "chat12/3",
        "FORWARD_USER_ID": "8",
    }
    payload = message(params=params)
    assert (payload["reply_to"], payload["edited"], payload["deleted"]) == (5, True, True)
    assert payload["forwarded_from"] == {"chat_id": 12, "message_id": 3, "user_id": 8}


def test_likes_are_one_reaction_with_its_users_sorted_once() -> None:
    assert message(params={"LIKE": [9, "3", 9]})["reactions"] == [{"reaction": "like", "user_ids": [3, 9]}]


def test_a_tombstone_keeps_all_but_the_text() -> None:
    assert bury_message(message()) == {**message(), "deleted": True, "text": ""}


def test_a_forwarded_message_mentions_whom_it_is_from() -> None:
    params = {"FORWARD_ID": 3, "FORWARD_CONTEXT_ID": "chat12/3", "FORWARD_USER_ID": "8"}
    assert sorted(CHAT_MESSAGES.user_ids(message(params=params))) == [8, 503]
    nobody = {**params, "FORWARD_USER_ID": 0}
    assert sorted(CHAT_MESSAGES.user_ids(message(params=nobody))) == [503]


def test_a_message_belongs_to_its_chat_and_mentions_author_and_likers() -> None:
    assert CHAT_MESSAGES.parent_of is not None
    assert CHAT_MESSAGES.parent_of(message()) == 1489
    assert sorted(CHAT_MESSAGES.user_ids(message())) == [503, 547]
    assert CHAT_MESSAGES.key(84869) == "source:chat:msg:84869"


CHAT: dict[str, Any] = {"id": "12", "name": "Отдел", "owner": "3", "manager_list": ["9", 3], "participant_ids": [4, 3]}


def chat(**changes: Any) -> dict[str, Any]:
    return parse_chat({**CHAT, **changes}, {}, MOSCOW).payload


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ({"message_type": "P"}, "private"),
        ({"type": "private"}, "private"),
        ({"message_type": "C", "type": "chat"}, "group"),
        ({"message_type": "O", "type": "open"}, "open"),
        ({"type": "channel"}, "channel"),
        ({"type": "openChannel"}, "channel"),
        ({"message_type": "L", "type": "lines"}, "openline"),
        ({"message_type": "X", "type": "tasks"}, "object"),
        ({"entity_type": "TASKS_TASK"}, "object"),
    ],
)
def test_the_kind_of_a_chat(parts: dict[str, Any], kind: str) -> None:
    assert chat(**parts)["type"] == kind


def test_a_private_dialog_has_no_title_since_it_depends_on_who_looks() -> None:
    assert chat(message_type="P")["title"] is None
    assert chat()["title"] == "Отдел"


def test_a_chat_has_sorted_lists_of_ids_and_null_for_what_was_not_said() -> None:
    payload = chat(entity_type="", entity_id="", description="")
    Chat.model_validate(payload)
    assert (payload["manager_ids"], payload["participant_ids"], payload["owner_id"]) == ([3, 9], [3, 4], 3)
    assert (payload["entity_type"], payload["entity_id"], payload["description"]) == (None, None, None)
    assert payload["created_at"] is None
    assert sorted(set(CHATS.user_ids(payload))) == [3, 4, 9]


def test_counters_that_move_by_themselves_are_no_part_of_a_chat() -> None:
    assert chat(message_count=5, last_message_id=9, counter=3) == chat()


def test_a_chat_with_an_impossible_date_is_rejected() -> None:
    with pytest.raises(RejectError) as reject:
        chat(date_create="2024-02-30T00:00:00+03:00")
    assert reject.value.code == "record.impossible_date"


def test_an_employee_of_user_get() -> None:
    row = {"ID": "7", "ACTIVE": True, "NAME": "Анна", "LAST_NAME": "", "EMAIL": "", "UF_DEPARTMENT": ["5", 2]}
    payload = parse_user({**row, "USER_TYPE": "employee"}, {}, MOSCOW).payload
    User.model_validate(payload)
    assert payload["name"] == payload["first_name"] == "Анна"
    assert (payload["last_name"], payload["email"], payload["active"], payload["external"]) == (None, None, True, False)
    assert payload["departments"] == [2, 5]


def test_what_user_get_leaves_out_is_null() -> None:
    payload = parse_user({"ID": "7", "UF_DEPARTMENT": False}, {}, MOSCOW).payload
    User.model_validate(payload)
    assert (payload["name"], payload["active"], payload["external"], payload["departments"]) == (None, None, None, [])


def test_a_bot_as_the_messenger_shows_one() -> None:
    payload = parse_im_user(
        {"id": 9, "name": "Бот", "active": True, "bot": True, "extranet": False}, {}, MOSCOW
    ).payload
    User.model_validate(payload)
    assert (payload["id"], payload["name"], payload["bot"], payload["external"]) == (9, "Бот", True, False)


@pytest.mark.parametrize(
    ("value", "number"),
    [(5, 5), ("5", 5), ("0", None), (0, None), (True, None), ("٣", None), ("5 ", None), (5.0, None), ("9" * 17, None)],
)
def test_what_counts_as_an_id(value: Any, number: int | None) -> None:
    assert whole(value) == number


def test_php_lists_and_maps_come_in_two_forms() -> None:
    assert rows_of({"0": "a", "5": "b"}) == ["a", "b"]
    assert rows_of([]) == rows_of(None) == rows_of(False) == []
    assert map_of([]) == {}
    assert wholes({"3": "7", "4": 2}) == [2, 7]
