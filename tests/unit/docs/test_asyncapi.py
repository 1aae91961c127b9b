"""docs/asyncapi.json is a well-formed AsyncAPI 3.0 document, and what services send is as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from tools.documents.catalogue import ROOT, topics

from chatferry.common.clock import SystemClock
from chatferry.common.contracts.envelope import common_headers, event_source, record_headers
from chatferry.common.contracts.events import PhaseCompleted
from chatferry.common.entities import ENTITIES
from chatferry.common.streaming.records import Outgoing, StoredRecord
from chatferry.extractor.adapters.events import RunEvents
from chatferry.importer.adapters.events import KafkaEvents
from chatferry.importer.domain.records import ImportRecord, read_record
from chatferry.importer.ports import Dead, Done
from chatferry.participants.adapters.kafka_out import KafkaAnnouncements, KafkaInbox
from chatferry.participants.domain.counts import ChatId, Count, Mark, Stamp
from chatferry.participants.domain.updates import read_update
from chatferry.participants.ports import Change

DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs" / "asyncapi.json").read_text(encoding="utf-8"))
NOW = datetime(2026, 3, 4, 6, 42, 31, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REFERENCE = {
    "type": "object",
    "required": ["$ref"],
    "properties": {"$ref": {"pattern": "^#/"}},
    "additionalProperties": False,
}
# What AsyncAPI 3.0 asks of the objects that the document uses.
SHAPE = {
    "type": "object",
    "required": ["asyncapi", "info"],
    "additionalProperties": False,
    "properties": {
        "asyncapi": {"const": "3.0.0"},
        "info": {"type": "object", "required": ["title", "version"]},
        "defaultContentType": {"type": "string"},
        "channels": {
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "address": {"type": "string"},
                    "description": {"type": "string"},
                    "messages": {"additionalProperties": REFERENCE},
                    "parameters": {"propertyNames": {"pattern": "^[A-Za-z0-9_-]+$"}},
                    "bindings": {
                        "type": "object",
                        "properties": {
                            "kafka": {
                                "additionalProperties": False,
                                "properties": {
                                    "topic": {"type": "string"},
                                    "partitions": {"type": "integer", "minimum": 1},
                                    "replicas": {"type": "integer", "minimum": 1},
                                    "topicConfiguration": {
                                        "properties": {
                                            "cleanup.policy": {"items": {"enum": ["compact", "delete"]}},
                                            "retention.ms": {"type": "integer", "minimum": -1},
                                            "retention.bytes": {"type": "integer", "minimum": -1},
                                            "max.message.bytes": {"type": "integer", "minimum": 0},
                                        }
                                    },
                                    "bindingVersion": {"const": "0.5.0"},
                                },
                            }
                        },
                    },
                },
            }
        },
        "operations": {
            "additionalProperties": {
                "required": ["action", "channel"],
                "additionalProperties": False,
                "properties": {
                    "action": {"enum": ["send", "receive"]},
                    "channel": REFERENCE,
                    "summary": {"type": "string"},
                    "messages": {"type": "array", "items": REFERENCE},
                },
            }
        },
        "components": {
            "additionalProperties": False,
            "properties": {
                "schemas": {"propertyNames": {"pattern": r"^[\w.-]+$"}},
                "messages": {
                    "propertyNames": {"pattern": r"^[\w.-]+$"},
                    "additionalProperties": {
                        "additionalProperties": False,
                        "required": ["name", "headers", "payload"],
                        "properties": {
                            name: {}
                            for name in (
                                "name",
                                "title",
                                "summary",
                                "contentType",
                                "headers",
                                "payload",
                                "bindings",
                            )
                        },
                    },
                },
            },
        },
    },
}


class _Producer:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.sent += records

    def fits(self, record: Outgoing) -> bool:
        del record
        return True


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _at(reference: str) -> Any:
    node: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return node


def _holds(message: str, sent: Outgoing) -> None:
    """Headers and body are as the document says of this message."""
    said = DOCUMENT["components"]["messages"][message]
    headers = {name: (value or b"").decode() for name, value in sent.headers}
    jsonschema.validate(headers, said["headers"], format_checker=jsonschema.FormatChecker())
    assert set(headers) <= set(said["headers"]["properties"]), "a header that the document does not name"
    payload = {**said["payload"], "components": DOCUMENT["components"]}
    jsonschema.validate(None if sent.value is None else json.loads(sent.value), payload)


def _record() -> StoredRecord:
    user = {
        "id": 547,
        "name": "Анна",
        "first_name": None,
        "last_name": None,
        "email": None,
        "active": True,
        "bot": False,
        "external": False,
        "work_position": None,
        "departments": [1],
    }
    common = common_headers(event_source("demo", "portal.example"), NOW, TRACE)
    headers = record_headers("source:user:547", 7, ENTITIES["users"].event_type, common=common)
    return StoredRecord("demo.users", 0, 3, 1_772_606_551_000, b"547", json.dumps(user).encode(), headers)


@pytest.fixture
def read() -> ImportRecord:
    return read_record(_record(), ENTITIES["users"], "demo", parked=False)


def test_the_document_has_the_form_of_asyncapi_3() -> None:
    jsonschema.validate(DOCUMENT, SHAPE)


def test_every_reference_leads_somewhere() -> None:
    for reference in _references(DOCUMENT):
        assert _at(reference) is not None


def test_every_schema_is_a_json_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for message in DOCUMENT["components"]["messages"].values():
        jsonschema.Draft202012Validator.check_schema(message["headers"])


def test_every_topic_has_its_channel_and_who_writes_it() -> None:
    assert set(DOCUMENT["channels"]) == {topic.name for topic in topics()}
    writers = {operation["channel"]["$ref"] for operation in DOCUMENT["operations"].values()}
    assert writers == {f"#/channels/{topic.name}" for topic in topics()}


def test_messages_of_an_operation_are_messages_of_its_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{operation['channel']['$ref']}/messages/")


def test_a_record_is_sent_as_the_document_says() -> None:
    record = _record()
    _holds("users", Outgoing(record.topic, record.key, record.value, record.headers))


async def test_the_end_of_a_phase_is_sent_as_the_document_says() -> None:
    producer = _Producer()
    events = RunEvents(producer, "demo", "portal.example", SystemClock())  # type: ignore[arg-type]
    counts = {"users": {"extracted": 1, "imported": 1, "dead": 0, "waiting": 0}}
    await events.completed(PhaseCompleted(run="r", family="users", phase="set", finished_at=NOW, counts=counts))
    _holds("PhaseCompleted", producer.sent[0])


async def test_results_are_sent_as_the_document_says(read: ImportRecord) -> None:
    producer = _Producer()
    events = KafkaEvents(("demo.results", producer), ("demo.dlq", producer), SystemClock())  # type: ignore[arg-type]
    await events.imported([Done(read, "created", "1", False)])
    await events.failed([Dead(read.raw, read.entity, read, "permanent", "record.invalid", "no", 3, False)])
    _holds("RecordImported", producer.sent[0])
    _holds("RecordFailed", producer.sent[1])


async def test_an_event_of_max_is_sent_as_the_document_says() -> None:
    producer = _Producer()
    inbox = KafkaInbox("demo.max.updates", "demo", producer, SystemClock())  # type: ignore[arg-type]
    for kind in ({"update_type": "user_added", "chat_id": -5, "user": {"user_id": 7}}, {"update_type": "of_tomorrow"}):
        body = json.dumps({"timestamp": 1_772_606_551_000, "more": [1], **kind}).encode()
        await inbox.put(read_update(body), body)
    for sent in producer.sent:
        _holds("MaxUpdate", sent)
    assert [sent.key for sent in producer.sent] == [b"-5", b"of_tomorrow"]


async def test_a_change_of_a_count_is_sent_as_the_document_says() -> None:
    producer = _Producer()
    announcements = KafkaAnnouncements("demo.participants", "demo", producer, SystemClock())  # type: ignore[arg-type]
    stamp = Stamp(3, 1_772_606_551_250)
    counts = [Count(4, Mark.STATIC), *(Count(4, mark, stamp) for mark in Mark if mark is not Mark.STATIC)]
    await announcements.count_changed([Change(ChatId(-5), count, 17) for count in counts])
    assert len(producer.sent) == len(Mark)
    for sent in producer.sent:
        _holds("CountChanged", sent)


async def test_the_end_of_a_count_is_sent_as_the_document_says() -> None:
    producer = _Producer()
    announcements = KafkaAnnouncements("demo.participants", "demo", producer, SystemClock())  # type: ignore[arg-type]
    await announcements.count_changed([Change(ChatId(-5), None, 17)])
    [sent] = producer.sent
    assert (sent.key, sent.value) == (b"-5", None)
    _holds("CountEnded", sent)


async def test_a_dead_letter_keeps_its_record_and_says_what_the_document_says(read: ImportRecord) -> None:
    producer = _Producer()
    events = KafkaEvents(("demo.results", producer), ("demo.dlq", producer), SystemClock())  # type: ignore[arg-type]
    await events.copy_dead([Dead(read.raw, read.entity, read, "permanent", "record.invalid", "no", 3, False)])
    [copy] = producer.sent
    said = DOCUMENT["components"]["messages"]["DeadLetter"]["headers"]
    added = {name: (value or b"").decode() for name, value in copy.headers if name.startswith("dlq-")}
    jsonschema.validate(added, said)
    assert set(added) <= set(said["properties"])
    assert (copy.key, copy.value) == (read.raw.key, read.raw.value)
    assert list(copy.headers)[: len(read.raw.headers)] == list(read.raw.headers)
