"""Folders become portals, whole or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.contract.simulators.bitrix24.helpers import shared_folder

from chatferry.simulators.bitrix24 import PortalDataError, load_folder, new_webhook, truth

USERS = [{"id": 1, "name": "Анна Ли", "active": True}, {"id": 2, "name": "b", "active": False}]
CHATS: list[dict[str, Any]] = [
    {"id": 1, "type": "group", "title": "g", "created_at": "2024-01-01T00:00:00+03:00", "owner_id": 1,
     "participant_ids": [1, 2]},
    {"id": 2, "type": "private", "title": None, "created_at": "2024-01-01T00:00:00+03:00", "owner_id": 1,
     "participant_ids": [2, 1]},
]  # fmt: skip
MESSAGES: list[dict[str, Any]] = [
    {"id": 4, "chat_id": 1, "author_id": 1, "text": "b", "date": "2024-01-02T00:00:00+03:00", "system": False,
     "reply_to": 3, "attachments": [{"name": "x.png", "size": 7, "mime": "image/png"}]},
    {"id": 3, "chat_id": 1, "author_id": 1, "text": "a", "date": "2024-01-01T00:00:00+03:00", "system": True},
    {"id": 5, "chat_id": 2, "author_id": 2, "text": "\ud83d\ude00", "date": "2024-01-01", "system": False},
]  # fmt: skip

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Write:
    def write(**files: Any) -> Path:
        for name, rows in ({"users": USERS, "chats": CHATS, "messages": MESSAGES} | files).items():
            text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
            (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_a_folder_is_loaded_as_it_is(folder: Write) -> None:
    portal = load_folder(folder())
    webhook = new_webhook(portal, 3)
    assert webhook.all_seeing
    assert [(user["id"], user["name"], user["active"], user["listed"]) for user in truth.users(portal)] == [
        (1, "Анна Ли", True, True),
        (2, "b", False, True),
        (3, "Portal owner", True, False),
    ]
    assert [(c["id"], c["message_type"], c["dialog_id"]) for c in truth.chats(portal, webhook)] == [
        (1, "C", "chat1"),
        (2, "P", "chat2"),
    ]
    first, second = truth.messages(portal, webhook, 1)
    assert (first["id"], first["author_id"], first["system"]) == (3, None, True)
    assert (second["id"], second["reply_to"], second["date"]) == (4, 3, "2024-01-02T00:00:00+03:00")
    assert second["files"] == [{"id": 1, "name": "x.png", "size": 7}]


def test_an_employees_webhook_sees_that_employees_chats(folder: Write) -> None:
    portal = load_folder(folder())
    webhook = new_webhook(portal, 1)
    assert not webhook.all_seeing
    assert [chat["dialog_id"] for chat in truth.chats(portal, webhook)] == ["chat1", "2"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"users": [*USERS, USERS[0]]}, r"users.jsonl:3: id 1 is there twice"),
        ({"users": "{"}, r"users.jsonl:1: not JSON"),
        ({"users": "[]"}, r"users.jsonl:1: not a JSON object"),
        ({"users": [{"id": "1", "name": "x"}]}, r"users.jsonl:1: id must be of type int, not str"),
        ({"users": [{"id": 1}]}, r"users.jsonl:1: the key 'name' is missing"),
        ({"chats": [CHATS[0] | {"type": "crowd"}]}, r"chats.jsonl:1: the type 'crowd' is unknown"),
        ({"chats": [CHATS[0] | {"participant_ids": [9]}]}, r"chats.jsonl:1: user 9 is not in users.jsonl"),
        ({"chats": [CHATS[1] | {"participant_ids": []}]}, r"chats.jsonl:1: a private chat has two participants"),
        ({"messages": [MESSAGES[0] | {"chat_id": 77}]}, r"messages.jsonl:1: chat_id 77 is not in chats.jsonl"),
        ({"messages": [MESSAGES[1], MESSAGES[1]]}, r"messages.jsonl:2: id 3 is there twice"),
        ({"messages": [MESSAGES[1] | {"id": 0}]}, r"messages.jsonl:1: id 0 is not positive"),
        ({"messages": [MESSAGES[0] | {"attachments": ["x"]}]}, r"messages.jsonl:1: attachments must be objects"),
    ],
)
def test_a_bad_folder_is_refused_with_file_and_line(folder: Write, files: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PortalDataError, match=sentence):
        load_folder(folder(**files))


def test_a_missing_file_or_folder_is_named(folder: Write, tmp_path: Path) -> None:
    path = folder()
    (path / "chats.jsonl").unlink()
    with pytest.raises(PortalDataError, match=r"chats\.jsonl cannot be read \(No such file"):
        load_folder(path)
    with pytest.raises(PortalDataError, match="nowhere is not a folder"):
        load_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "users", "chats", "messages"), [("coreruleset-slack", 68, 48, 32884), ("radio-t-samples", 83, 2, 621)]
)
def test_the_shared_data_come_through_byte_for_byte(name: str, users: int, chats: int, messages: int) -> None:
    folder = shared_folder() / "data" / name
    portal = load_folder(folder)
    assert (len(portal.users) - 1, len(portal.chats), portal.count_messages()) == (users, chats, messages)
    webhook = new_webhook(portal, max(portal.users))
    for line in (folder / "messages.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
        row = json.loads(line)
        stored = portal.chats[row["chat_id"]].log.message(row["id"])
        assert (stored.text, stored.date, stored.reply_to) == (row["text"], row["date"], row.get("reply_to"))
        assert stored.author_id == (0 if row["system"] else row["author_id"])
    assert len(truth.chats(portal, webhook)) == chats
