"""What a row of the portal has to have become: every field of a record, and each of them is looked at."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from tests.integration.whole.ledger_world import TAMPERED
from tools.ledger_expected import differing, expected

from chatferry.common.contracts.records import Chat, ChatMessage, User

Row = dict[str, Any]
MODELS: dict[str, type[BaseModel]] = {"users": User, "chats": Chat, "messages": ChatMessage}
WRITTEN = "2024-02-01T10:00:00+03:00"
TIME = {"source_original": WRITTEN, "utc": "2024-02-01T07:00:00Z", "original_offset": "+03:00"}
ROWS: dict[str, Row] = {
    "users": {
        "id": 5,
        "name": "Анна Б",
        "first_name": "Анна",
        "last_name": "Б",
        "email": "a@example.com",
        "active": True,
        "bot": False,
        "extranet": False,
        "work_position": "",
        "departments": [7, 2],
        "listed": True,
    },
    "chats": {
        "id": 11,
        "dialog_id": "chat11",
        "message_type": "X",
        "title": "Задача",
        "description": "",
        "owner_id": 5,
        "manager_ids": [9, 5],
        "participant_ids": [9, 5],
        "created_at": WRITTEN,
        "entity_type": "TASKS_TASK",
        "entity_id": "33",
        "message_count": 1,
        "last_message_id": 1,
        "visible_messages": 1,
        "recent": True,
    },
    "messages": {
        "id": 21,
        "chat_id": 11,
        "author_id": 5,
        "text": "а\ud83d",
        "date": WRITTEN,
        "system": False,
        "deleted": False,
        "edited": True,
        "reply_to": 19,
        "likes": [9, 5],
        "files": [{"id": 7, "name": "б.png", "size": 3}, {"id": 6, "name": "а.txt", "size": 0}],
    },
}
RECORDS: dict[str, Row] = {
    "users": {
        "id": 5,
        "name": "Анна Б",
        "first_name": "Анна",
        "last_name": "Б",
        "email": "a@example.com",
        "active": True,
        "bot": False,
        "external": False,
        "work_position": None,
        "departments": [2, 7],
    },
    "chats": {
        "id": 11,
        "type": "object",
        "title": "Задача",
        "description": None,
        "owner_id": 5,
        "manager_ids": [5, 9],
        "participant_ids": [5, 9],
        "created_at": TIME,
        "entity_type": "TASKS_TASK",
        "entity_id": "33",
    },
    "messages": {
        "id": 21,
        "chat_id": 11,
        "author_id": 5,
        "text": "а\ufffd",
        "sent_at": TIME,
        "system": False,
        "deleted": False,
        "edited": True,
        "reply_to": 19,
        "forwarded_from": None,
        "files": [
            {"id": 6, "name": "а.txt", "size_bytes": 0, "mime_type": None},
            {"id": 7, "name": "б.png", "size_bytes": 3, "mime_type": None},
        ],
        "reactions": [{"reaction": "like", "user_ids": [5, 9]}],
    },
}
FIELDS = [(name, field) for name, model in MODELS.items() for field in model.model_fields]


@pytest.mark.parametrize("name", MODELS)
def test_a_record_as_the_portal_has_it_differs_in_nothing(name: str) -> None:
    assert differing(ROWS[name], RECORDS[name], {}) == []
    assert expected(ROWS[name], {}).keys() == set(MODELS[name].model_fields)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_field_that_is_another_or_missing_is_named(name: str, field: str) -> None:
    record = RECORDS[name]
    assert differing(ROWS[name], record | {field: "another"}, {}) == [field]
    assert differing(ROWS[name], {one: value for one, value in record.items() if one != field}, {}) == [field]


def test_a_field_that_the_portal_does_not_have_is_named() -> None:
    assert differing(ROWS["users"], RECORDS["users"] | {"phone": "1"}, {}) == ["phone"]


@pytest.mark.parametrize("part", [{"utc": "2024-02-01T08:00:00Z"}, {"original_offset": "+02:00"}, {"utc": None}])
def test_a_time_whose_parts_are_not_of_one_moment_is_named(part: Row) -> None:
    assert differing(ROWS["messages"], RECORDS["messages"] | {"sent_at": TIME | part}, {}) == ["sent_at"]


@pytest.mark.parametrize(
    ("letter", "entity_type", "kind"),
    [
        *[("P", "", "private"), ("C", "", "group"), ("O", "", "open"), ("N", "", "channel"), ("L", "", "openline")],
        *[("X", "", "object"), ("C", "CRM", "object")],
    ],
)
def test_the_kind_of_a_chat_follows_from_the_portals_letter(letter: str, entity_type: str, kind: str) -> None:
    assert expected(ROWS["chats"] | {"message_type": letter, "entity_type": entity_type}, {})["type"] == kind


def test_every_field_but_the_ids_is_tampered_with_at_a_real_target() -> None:
    for name, model in MODELS.items():
        assert {field for field, _ in TAMPERED[name]} | {"id", "chat_id"} >= set(model.model_fields), name
