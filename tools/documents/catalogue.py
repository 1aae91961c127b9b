"""What is on the topics: which bodies, under which types, with which headers. Every generated document starts here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from chatferry.common.bootstrap import TopicSpec, read_topics
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
from chatferry.common.contracts.schemas import EVENTS, RECORDS

ROOT = Path(__file__).resolve().parents[2]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
Json = dict[str, Any]
THE_RECORD_ITSELF = "the record itself"

_BODIES: dict[str, type[BaseModel]] = {
    "run.requested": RunRequested,
    "run.stopped": RunStopped,
    "run.progress": RunProgress,
    "record.imported": RecordImported,
    "record.failed": RecordFailed,
    "max.update": MaxUpdate,
    "participants.count_changed": CountChanged,
    "participants.ended": CountEnded,
}
# Events whose headers are those of no run.
_KINDS = {"results": "result", "max.updates": "update", "participants": "count"}
# Declared in the contracts and in topics.yaml, written by nobody yet; a test notices when that changes.
RESERVED: frozenset[str] = frozenset()


class UnknownEventError(ValueError):
    """deploy/topics.yaml names an event whose body the contracts do not know."""


@dataclass(frozen=True, slots=True)
class Message:
    """One body and the event types that it comes under. `kind` says which headers it has."""

    name: str
    types: tuple[str, ...]
    model: type[BaseModel] | None
    kind: str

    @property
    def schema_path(self) -> str | None:
        """Where its JSON Schema stands, seen from docs/; None for a copy of any record."""
        if self.model is None:
            return None
        return f"schemas/records/{self.name}.json" if self.kind == "record" else f"schemas/events/{self.name}.json"

    @property
    def reserved(self) -> bool:
        return set(self.types) <= RESERVED


def topics() -> list[TopicSpec]:
    """The topics, as the bootstrap creates them."""
    return read_topics(ROOT / "deploy" / "topics.yaml")


def messages(topic: TopicSpec) -> list[Message]:
    """What may be read from a topic. Raises UnknownEventError."""
    if topic.record is not None:
        return [Message(topic.record, topic.events, RECORDS[topic.record], "record")]
    if topic.events == (THE_RECORD_ITSELF,):
        return [Message("DeadLetter", (), None, "dead")]
    types: dict[type[BaseModel], list[str]] = {}
    for event in topic.events:
        types.setdefault(_body(topic, event), []).append(event)
    kind = _KINDS.get(topic.name, "run")
    return [Message(model.__name__, tuple(names), model, kind) for model, names in types.items()]


def _body(topic: TopicSpec, event: str) -> type[BaseModel]:
    model = PhaseCompleted if event.endswith(".completed") else _BODIES.get(event)
    if model is None or model not in EVENTS.get(topic.name, ()):
        raise UnknownEventError(f"topic {topic.name} of deploy/topics.yaml: no body is known for the event {event}")
    return model


def schema_of(model: type[BaseModel]) -> Json:
    """A model's JSON Schema, as it is published."""
    return {"$schema": DIALECT, **model.model_json_schema()}


def schemas() -> dict[str, Json]:
    """Every published schema, by its path under docs/."""
    found: dict[str, Json] = {}
    for topic in topics():
        for message in messages(topic):
            if message.schema_path is not None and message.model is not None:
                found[message.schema_path] = schema_of(message.model)
    return found
