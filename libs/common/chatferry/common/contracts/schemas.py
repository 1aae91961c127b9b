"""JSON Schemas of everything on the topics, and the fingerprint of the records' shapes."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from pydantic import BaseModel

from chatferry.common.contracts.events import (
    CountChanged,
    CountEnded,
    MaxUpdate,
    PhaseCompleted,
    RecordFailed,
    RecordImported,
    RunProgress,
    RunRequested,
    RunStopped,
)
from chatferry.common.contracts.records import Chat, ChatMessage, User

RECORDS: dict[str, type[BaseModel]] = {"users": User, "chats": Chat, "chat_messages": ChatMessage}
EVENTS: dict[str, tuple[type[BaseModel], ...]] = {
    "commands": (RunRequested, RunStopped),
    "runs": (PhaseCompleted, RunProgress),
    "results": (RecordImported, RecordFailed),
    "max.updates": (MaxUpdate,),
    "participants": (CountChanged, CountEnded),
}


def record_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of each entity's record."""
    return {name: model.model_json_schema() for name, model in RECORDS.items()}


def mapping_fingerprint() -> str:
    """Changes whenever the shape of a record does."""
    return hashlib.sha256(orjson.dumps(record_schemas(), option=orjson.OPT_SORT_KEYS)).hexdigest()
