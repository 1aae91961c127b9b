"""The headers of each kind of message, as JSON Schema. A test holds them to what the services really send."""

from __future__ import annotations

from collections.abc import Sequence

from tools.documents.catalogue import Json

_VERSION = "the record's version: newer content has the higher one"


def _text(about: str, **more: object) -> Json:
    return {"type": "string", "description": about, **more}


_COMMON: Json = {
    "ce_specversion": _text("CloudEvents", const="1.0"),
    "ce_type": _text("the event's type"),
    "ce_source": _text("`/chatferry/<project>/<portal host>`", pattern="^/chatferry/"),
    "ce_subject": _text("what the event is about"),
    "ce_time": _text("when it was sent, UTC", format="date-time"),
    "content-type": _text("of the body", const="application/json"),
}
_TRACE: Json = {"traceparent": _text("W3C trace context, where traces are on")}
_RECORD: Json = {
    **_COMMON,
    **_TRACE,
    "ce_id": _text("`<key>@<version>`: a repeat has the same one, so drop what you have seen"),
    "ce_subject": _text("the record's idempotency key, `source:chat:msg:84869`"),
    "ce_recordversion": _text(_VERSION, pattern="^[0-9]+$"),
    "replay-of": _text("`<topic>/<partition>/<offset>` of the dead letter that this is a replay of"),
}
_RESULT: Json = {
    **_RECORD,
    "ce_id": _text("`<key>@<version>/imported`; of a failure `<key>@<version>/failed/<topic>/<partition>/<offset>`"),
}
_RUN: Json = {
    **_COMMON,
    "ce_id": _text("one per run and event"),
    "ce_source": _text(
        "`/chatferry/<project>/<portal host>`; from the verifier the project alone", pattern="^/chatferry/"
    ),
    "ce_subject": _text("the run's id"),
}
_OF_MAX = _text("`/chatferry/<project>/max`", pattern="^/chatferry/[^/]+/max$")
_UPDATE: Json = {
    **_COMMON,
    **_TRACE,
    "ce_id": _text("`<update_type>:<chat_id>:<user_id>:<timestamp>`: MAX's events have no id, and one may come again"),
    "ce_source": _OF_MAX,
    "ce_subject": _text("as the key: the MAX chat's id; of an update that names none, its type"),
    "ce_time": _text("when it came in, UTC", format="date-time"),
}
_COUNT: Json = {
    **_COMMON,
    "ce_id": _text("`participants:<chat id>@<change>`: a repeat has the same one"),
    "ce_source": _OF_MAX,
    "ce_subject": _text("`participants:<chat id>`"),
    "ce_recordversion": _text("the chat's change: a newer one has the higher number", pattern="^[0-9]+$"),
}
_DEAD: Json = {
    "dlq-topic": _text("topic that the record was meant for, with the project's prefix"),
    "dlq-error-class": _text("our class of error; `rejected`: the portal's record cannot become a canonical one"),
    "dlq-code": _text("our code"),
    "dlq-message": _text("a short sentence without anything of the record"),
    "dlq-attempts": _text("answers about this record; 0: none was needed", pattern="^[0-9]+$"),
    "dlq-partition": _text("importer: original partition", pattern="^[0-9]+$"),
    "dlq-offset": _text("importer: original offset", pattern="^[0-9]+$"),
    "dlq-timestamp": _text("importer: original time, milliseconds since 1970", pattern="^-?[0-9]+$"),
    "dlq-id": _text("extractor: `_id` in the collection `dead_letters`"),
    "dlq-key": _text("extractor: the record's idempotency key"),
    "dlq-time": _text("extractor: when it was rejected", format="date-time"),
}
_ALWAYS_DEAD = ("dlq-topic", "dlq-error-class", "dlq-code", "dlq-message", "dlq-attempts")
_OPTIONAL = ("traceparent", "replay-of")
_SHAPES: dict[str, Json] = {
    "record": _RECORD,
    "result": {name: one for name, one in _RESULT.items() if name != "replay-of"},
    "run": _RUN,
    "update": _UPDATE,
    "count": _COUNT,
}


def header_schema(kind: str, types: Sequence[str]) -> Json:
    """Of a message of this kind: `record`, `result`, `run`, `update`, `count`; or `dead`, which has its record's own
    headers beside it."""
    if kind == "dead":
        return {"type": "object", "properties": _DEAD, "required": list(_ALWAYS_DEAD)}
    properties = {**_SHAPES[kind], "ce_type": {**_COMMON["ce_type"], "enum": list(types)}}
    required = sorted(name for name in properties if name not in _OPTIONAL)
    return {"type": "object", "properties": dict(sorted(properties.items())), "required": required}
