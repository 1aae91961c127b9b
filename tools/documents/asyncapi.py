"""The AsyncAPI 3.0 document of all topics.

FastStream would write one from its publishers; ours publish through aiokafka, and its document holds neither headers
nor keys nor partitions. So this one is made from the same sources as the topics themselves.
"""

from __future__ import annotations

import json
from typing import Any

from tools.documents.catalogue import Json, Message, messages, schema_of, topics
from tools.documents.headers import header_schema

from chatferry.common.bootstrap import TopicSpec

_BINDING = "0.5.0"
_ABOUT = (
    "Every event that chatferry publishes: CloudEvents 1.0 in Kafka's binary binding, bodies in JSON. Any Kafka client"
    " reads them. At least once: drop a `ce_id` that you have seen, and a `ce_recordversion` below the one you hold."
)


def asyncapi_document() -> Json:
    """All topics with their messages, headers, keys and partitions."""
    components: Json = {"messages": {}, "schemas": {}}
    channels: Json = {}
    operations: Json = {}
    for topic in topics():
        found = messages(topic)
        for message in found:
            components["messages"][message.name] = _message(message, topic, components["schemas"])
        channels[topic.name] = _channel(topic, found)
        operations[f"send_{topic.name}"] = _operation(topic, found)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "chatferry", "version": "0.1.0", "description": _ABOUT, "license": {"name": "MIT"}},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": components,
    }


def _channel(topic: TopicSpec, found: list[Message]) -> Json:
    return {
        "address": f"{{project}}.{topic.name}",
        "description": topic.about,
        "parameters": {"project": {"description": "the project's name", "default": "demo"}},
        "messages": {message.name: {"$ref": f"#/components/messages/{message.name}"} for message in found},
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "replicas": topic.replication,
                "topicConfiguration": _configuration(topic.config),
                "bindingVersion": _BINDING,
            }
        },
    }


def _configuration(config: dict[str, str]) -> Json:
    """The binding wants numbers where Kafka takes texts, and a list of clean-up policies."""
    values: Json = {name: int(value) if value.lstrip("-").isdigit() else value for name, value in config.items()}
    if "cleanup.policy" in values:
        values["cleanup.policy"] = values["cleanup.policy"].split(",")
    return dict(sorted(values.items()))


def _operation(topic: TopicSpec, found: list[Message]) -> Json:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": f"Written by: {topic.owner}.",
        "messages": [{"$ref": f"#/channels/{topic.name}/messages/{message.name}"} for message in found],
    }


def _message(message: Message, topic: TopicSpec, schemas: Json) -> Json:
    return {
        "name": message.name,
        "title": ", ".join(message.types) or topic.about,
        "summary": _summary(message),
        "contentType": "application/json",
        "headers": header_schema(message.kind, message.types),
        "payload": _payload(message, schemas),
        "bindings": {
            "kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": _BINDING},
        },
    }


def _summary(message: Message) -> str:
    if message.model is None:
        return "Key, value and headers of the record that died, byte for byte, with headers that say why."
    text = " ".join((message.model.__doc__ or "").split())
    return f"{text} Declared, and not written yet." if message.reserved else text


def _payload(message: Message, schemas: Json) -> Json:
    if message.model is None:
        return {"description": "The record's own bytes, which need not be JSON."}
    schema: Any = json.loads(
        json.dumps(schema_of(message.model)).replace('"#/$defs/', '"#/components/schemas/'),
    )
    schemas.update(schema.pop("$defs", {}))
    del schema["$schema"]
    schemas[message.model.__name__] = schema
    return {"$ref": f"#/components/schemas/{message.model.__name__}"}
