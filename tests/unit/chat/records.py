"""Canonical records for tests: strategies over everything that is valid, and plain examples."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import strategies as st

from chatferry.chat.domain.items import Item
from chatferry.common.contracts.canonical import payload_hash
from chatferry.common.entities import ENTITIES

Data = dict[str, Any]
_WIDEST = 2**53

ids = st.integers(-_WIDEST, _WIDEST)
texts = st.text(max_size=40)  # without surrogates, with all control characters
maybe_texts = st.none() | texts
maybe_ids = st.none() | ids
maybe_flags = st.none() | st.booleans()
id_lists = st.lists(ids, max_size=5)


@st.composite
def times(draw: st.DrawFn) -> Data:
    moment = draw(st.datetimes()).replace(microsecond=0)
    fraction = draw(st.just("") | st.text("0123456789", min_size=1, max_size=6).map(".{}".format))
    return {
        "source_original": draw(texts),
        "utc": f"{moment.isoformat()}{fraction}Z",
        "original_offset": draw(st.sampled_from(["+03:00", "-11:30", "+00:00", ""])),
    }


users = st.fixed_dictionaries(
    {
        "id": ids,
        "name": maybe_texts,
        "first_name": maybe_texts,
        "last_name": maybe_texts,
        "email": maybe_texts,
        "active": maybe_flags,
        "bot": maybe_flags,
        "external": maybe_flags,
        "work_position": maybe_texts,
        "departments": id_lists,
    }
)
chats = st.fixed_dictionaries(
    {
        "id": ids,
        "type": st.sampled_from(["private", "group", "open", "channel", "openline", "object"]),
        "title": maybe_texts,
        "description": maybe_texts,
        "owner_id": maybe_ids,
        "manager_ids": id_lists,
        "participant_ids": id_lists,
        "created_at": st.none() | times(),
        "entity_type": maybe_texts,
        "entity_id": maybe_texts,
    }
)
messages = st.fixed_dictionaries(
    {
        "id": ids,
        "chat_id": ids,
        "author_id": maybe_ids,
        "text": texts,
        "sent_at": times(),
        "system": st.booleans(),
        "deleted": st.booleans(),
        "edited": st.booleans(),
        "reply_to": maybe_ids,
        "forwarded_from": st.none()
        | st.fixed_dictionaries({"chat_id": maybe_ids, "message_id": maybe_ids, "user_id": maybe_ids}),
        "files": st.lists(
            st.fixed_dictionaries({"id": ids, "name": maybe_texts, "size_bytes": maybe_ids, "mime_type": maybe_texts}),
            max_size=3,
        ),
        "reactions": st.lists(st.fixed_dictionaries({"reaction": texts, "user_ids": id_lists}), max_size=3),
    }
)
of_entity = {"users": users, "chats": chats, "chat_messages": messages}


def time_at(moment: str = "2026-03-04T06:42:31Z") -> Data:
    """A canonical time of Moscow."""
    return {
        "source_original": "2026-03-04T09:42:31+03:00",
        "utc": moment,
        "original_offset": "+03:00",
    }


def user(number: int, **fields: Any) -> Data:
    """An employee."""
    names = {"name": "Анна Б", "first_name": "Анна", "last_name": "Б", "email": None, "work_position": ""}
    return {"id": number, **names, "active": True, "bot": False, "external": None, "departments": [], **fields}


def chat(number: int, **fields: Any) -> Data:
    """A group chat."""
    plain: Data = {"type": "group", "title": "Отдел", "description": None, "owner_id": 5, "manager_ids": [5]}
    bound: Data = {"created_at": time_at(), "entity_type": None, "entity_id": None}
    return {"id": number, **plain, "participant_ids": [5, 503], **bound, **fields}


def message(number: int, chat_id: int, **fields: Any) -> Data:
    """A message with a text and nothing else."""
    marks = {"system": False, "deleted": False, "edited": False}
    rest: Data = {"reply_to": None, "forwarded_from": None, "files": [], "reactions": []}
    said = {"author_id": 503, "text": "Привет, [USER=547]Анна[/USER]!", "sent_at": time_at()}
    return {"id": number, "chat_id": chat_id, **said, **marks, **rest, **fields}


def wire(entity: str, data: Data, version: int = 1) -> Data:
    """The item as it is sent."""
    return {"key": ENTITIES[entity].key(data["id"]), "version": version, "hash": payload_hash(data), "data": data}


def item(entity: str, data: Data, version: int = 1) -> Item:
    """The item as the target reads it."""
    return cast("Item", wire(entity, data, version))
