"""The target's own model and the way from canonical records to it and back.

Nothing is kept as the JSON it came in: what is null or empty is absent, flags are words, times are dates. Going there
and back is the identity for every record that `checks` lets pass (a property test holds it).

```text
users     _id, target_id, version, hash, names {full, first, last}, email, active, bot, external, position, departments
chats     _id, target_id, version, hash, kind, title, about, owner, managers, members, created, bound_to {type, id}
messages  _id, target_id, version, hash, chat (its target_id), source_chat_id, author, text, sent, marks,
          reply_to, forwarded {chat, message, user}, attachments [{file, name, bytes, mime}], reactions [{kind, users}]
```

`_id` is the source's id, so that MongoDB itself never keeps a record twice and one index less is written for each;
`target_id` is the target's own. Users, and messages that others refer to, are named by their source ids: mapping them
is the business of whoever compares. A message hangs under the chat that `chat` leads to, and that is what is told;
`source_chat_id` only finds the messages of a chat. `members` is an array in the chat's document, so that a chat and
its members are one write: 10,000 of them take 110 kB, of the 16 MB a document may have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from chatferry.chat.domain.times import kept_time, told_time

Data = Mapping[str, Any]
Document = dict[str, Any]
_MARKS = ("system", "deleted", "edited")


@dataclass(frozen=True, slots=True)
class Shape:
    """Where an entity lives, and how. `parent_field` holds the parent's source id, `parent_ref` its target id.

    `tell` takes the parent's source id from `parent_field`: put there what `parent_ref` leads to.
    """

    collection: str
    keep: Callable[[Data], Document]
    tell: Callable[[Document], dict[str, Any]]
    parent_field: str | None = None
    parent_ref: str | None = None


def _present(**fields: Any) -> Document:
    return {name: value for name, value in fields.items() if value is not None}


def _keep_user(data: Data) -> Document:
    document = _present(
        names=_present(full=data["name"], first=data["first_name"], last=data["last_name"]) or None,
        email=data["email"],
        active=data["active"],
        bot=data["bot"],
        external=data["external"],
        position=data["work_position"],
        departments=data["departments"] or None,
    )
    document["_id"] = data["id"]
    return document


def _tell_user(document: Document) -> dict[str, Any]:
    get = document.get
    names = get("names", {})
    return {
        "id": document["_id"],
        "name": names.get("full"),
        "first_name": names.get("first"),
        "last_name": names.get("last"),
        "email": get("email"),
        "active": get("active"),
        "bot": get("bot"),
        "external": get("external"),
        "work_position": get("position"),
        "departments": get("departments", []),
    }


def _keep_chat(data: Data) -> Document:
    document = _present(
        title=data["title"],
        about=data["description"],
        owner=data["owner_id"],
        managers=data["manager_ids"] or None,
        members=data["participant_ids"] or None,
        created=kept_time(data["created_at"]) if data["created_at"] is not None else None,
        bound_to=_present(type=data["entity_type"], id=data["entity_id"]) or None,
    )
    document["_id"] = data["id"]
    document["kind"] = data["type"]
    return document


def _tell_chat(document: Document) -> dict[str, Any]:
    get = document.get
    bound = get("bound_to", {})
    return {
        "id": document["_id"],
        "type": document["kind"],
        "title": get("title"),
        "description": get("about"),
        "owner_id": get("owner"),
        "manager_ids": get("managers", []),
        "participant_ids": get("members", []),
        "created_at": told_time(document["created"]) if "created" in document else None,
        "entity_type": bound.get("type"),
        "entity_id": bound.get("id"),
    }


def _keep_message(data: Data) -> Document:
    document: Document = {
        "_id": data["id"],
        "source_chat_id": data["chat_id"],
        "text": data["text"],
        "sent": kept_time(data["sent_at"]),
    }
    if data["author_id"] is not None:
        document["author"] = data["author_id"]
    if data["system"] or data["deleted"] or data["edited"]:
        document["marks"] = [mark for mark in _MARKS if data[mark]]
    if data["reply_to"] is not None:
        document["reply_to"] = data["reply_to"]
    if data["files"]:
        document["attachments"] = [_keep_file(file) for file in data["files"]]
    if data["reactions"]:
        document["reactions"] = [{"kind": one["reaction"], "users": one["user_ids"]} for one in data["reactions"]]
    if (origin := data["forwarded_from"]) is not None:
        document["forwarded"] = _present(chat=origin["chat_id"], message=origin["message_id"], user=origin["user_id"])
    return document


def _keep_file(file: Data) -> Document:
    return _present(file=file["id"], name=file["name"], bytes=file["size_bytes"], mime=file["mime_type"])


def _tell_message(document: Document) -> dict[str, Any]:
    get = document.get
    marks = get("marks", ())
    origin = get("forwarded")
    return {
        "id": document["_id"],
        "chat_id": document["source_chat_id"],
        "author_id": get("author"),
        "text": document["text"],
        "sent_at": told_time(document["sent"]),
        "system": "system" in marks,
        "deleted": "deleted" in marks,
        "edited": "edited" in marks,
        "reply_to": get("reply_to"),
        "forwarded_from": None if origin is None else _tell_origin(origin),
        "files": [_tell_file(file) for file in get("attachments", ())],
        "reactions": [{"reaction": one["kind"], "user_ids": one["users"]} for one in get("reactions", ())],
    }


def _tell_origin(origin: Document) -> dict[str, Any]:
    return {"chat_id": origin.get("chat"), "message_id": origin.get("message"), "user_id": origin.get("user")}


def _tell_file(file: Document) -> dict[str, Any]:
    return {
        "id": file["file"],
        "name": file.get("name"),
        "size_bytes": file.get("bytes"),
        "mime_type": file.get("mime"),
    }


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "users": Shape("users", _keep_user, _tell_user),
        "chats": Shape("chats", _keep_chat, _tell_chat),
        "chat_messages": Shape("messages", _keep_message, _tell_message, "source_chat_id", "chat"),
    }
)
