"""What a record has to be when the portal has such a row, field by field, for `check_ledger.py`; no code of chatferry.

A row comes from a simulator's `/truth`, or from the folder that a portal was made of, which says less: what it does not
say, the portal does not have. Every field of a record is expected; a record with another one differs in it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

Row = dict[str, Any]
_SURROGATES = re.compile("[\ud800-\udfff]")
_KINDS = {"P": "private", "N": "channel", "L": "openline", "X": "object"}
_TIMES = ("created_at", "sent_at")


def expected(row: Row, users: dict[int, Row]) -> Row:
    """`users`: all rows of users, for the chat of the whole company."""
    if "text" in row:
        return _message(row)
    return _chat(row, users) if "participant_ids" in row else _user(row)


def differing(row: Row, data: Row, users: dict[int, Row]) -> list[str]:
    """Names of the fields in which the target's data are not what the row says."""
    wanted, shown = expected(row, users), _as_shown(data)
    return [name for name in {**wanted, **shown} if wanted.get(name, ...) != shown.get(name, ...)]


def _user(row: Row) -> Row:
    bot, external = bool(row.get("bot")), bool(row.get("extranet"))
    return {
        "id": row["id"],
        "name": row["name"] or None,
        "first_name": row.get("first_name", row["name"]) or None,
        "last_name": row.get("last_name") or None,
        "email": row.get("email") or None,
        "active": row.get("active", True),
        "bot": bot,
        "external": external,
        "work_position": row.get("work_position") or None,
        # Without a word about them everybody is in the first one; the portal shows none of bots and of people outside.
        "departments": [] if bot or external else sorted(row.get("departments", [1])),
    }


def _chat(row: Row, users: dict[int, Row]) -> Row:
    kind = _kind(row)
    # The chat of the whole company shows its active members only.
    general = row.get("message_type") == "O" and row["title"] == "Общий чат"
    return {
        "id": row["id"],
        "type": kind,
        # That of a private one depends on who looks.
        "title": None if kind == "private" else row.get("title") or "",
        "description": row.get("description") or None,
        "owner_id": row.get("owner_id") or None,
        "manager_ids": sorted(row.get("manager_ids", ())),
        "participant_ids": sorted({user for user in row["participant_ids"] if not general or users[user]["active"]}),
        "created_at": row["created_at"],
        "entity_type": row.get("entity_type") or None,
        "entity_id": row.get("entity_id") or None,
    }


def _kind(row: Row) -> str:
    """A folder says it in words, a portal with a letter; what belongs to an object may have any."""
    letter = row.get("message_type")
    if letter is None:
        return str(row["type"])
    return _KINDS.get(letter) or ("object" if row.get("entity_type") else "open" if letter == "O" else "group")


def _message(row: Row) -> Row:
    system, likes = bool(row.get("system")), sorted(row.get("likes", ()))
    files = row.get("attachments") or row.get("files") or []
    return {
        "id": row["id"],
        "chat_id": row["chat_id"],
        "author_id": None if system else row["author_id"] or None,
        "text": _SURROGATES.sub("\ufffd", row["text"]),
        "sent_at": row["date"],
        "system": system,
        "deleted": row.get("deleted", False),
        "edited": row.get("edited", False),
        "reply_to": row.get("reply_to"),
        # Pages of messages do not say what was passed on, nor of what kind a file is.
        "forwarded_from": None,
        "files": [
            {"id": file["id"], "name": file["name"] or None, "size_bytes": file.get("size") or 0, "mime_type": None}
            for file in sorted(files, key=lambda file: int(file["id"]))
        ],
        "reactions": [{"reaction": "like", "user_ids": likes}] if likes else [],
    }


def _as_shown(data: Row) -> Row:
    """The target's data with each time as the portal writes it, or as it is where its parts are not of one moment."""
    return data | {name: _written(data[name]) for name in _TIMES if name in data}


def _written(time: Any) -> Any:
    """UTC and offset have to be those of the original; where that has no offset, the record says which was meant."""
    try:
        moment = datetime.fromisoformat(time["source_original"])
        meant = datetime.fromisoformat(f"2000-01-01T00:00:00{time['original_offset']}").tzinfo
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=meant)
        same = moment.astimezone(UTC) == datetime.fromisoformat(time["utc"])
        same = same and meant is not None and moment.utcoffset() == meant.utcoffset(None)
        return time["source_original"] if same and len(time) == 3 else time
    except (KeyError, TypeError, ValueError):
        return time
