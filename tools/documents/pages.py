"""docs/topics.md: the topics, for whoever wants to subscribe."""

from __future__ import annotations

from tools.documents.catalogue import RESERVED, Message, messages, topics
from tools.documents.headers import header_schema

from chatferry.common.bootstrap import TopicSpec

_HEAD = """<!-- Made by `make generate` from deploy/topics.yaml and chatferry.common.contracts; edit those. -->
# Topics

Names carry the project: the topic `chats` of the project `demo` is `demo.chats`. `deploy/topics.yaml` is their only
creator; it is applied by `chatferry bootstrap`, `chatferry up` and `chatferry demo`. Bodies are JSON in UTF-8,
envelopes are CloudEvents 1.0 in Kafka's binary binding, so that any client reads them. The same for machines:
[`asyncapi.json`](asyncapi.json) and the JSON Schemas below.

Delivery is at least once. A subscriber drops a `ce_id` that it has seen, and content whose `ce_recordversion` is not
above the one it holds. Records of one key stay in order. Who comes late asks for `chatferry republish <entity>`.
"""
_KINDS = {
    "run": "Headers of a run's event",
    "record": "Headers of a record",
    "result": "Headers of a result",
    "update": "Headers of a MAX update",
    "count": "Headers of a count",
    "dead": "Headers of a dead letter, beside the record's own",
}
_RESERVED = " (declared, not written yet)"


def topics_page() -> str:
    """The page, as Markdown."""
    found = topics()
    kinds = {message.kind: message for topic in found for message in messages(topic)}
    headers = [_headers(title, kinds[kind]) for kind, title in _KINDS.items()]
    return "\n".join([_HEAD, _overview(found), *[_section(topic) for topic in found], *headers]).rstrip() + "\n"


def _overview(found: list[TopicSpec]) -> str:
    rows = ["| topic | key | written by | partitions | kept |", "| --- | --- | --- | --- | --- |"]
    rows += [f"| [`{t.name}`](#{_anchor(t.name)}) | {t.key} | {t.owner} | {t.partitions} | {_kept(t)} |" for t in found]
    return "\n".join(rows) + "\n"


def _kept(topic: TopicSpec) -> str:
    if topic.config.get("cleanup.policy") == "compact":
        return "the newest of each key"
    return "for ever" if topic.config["retention.ms"] == "-1" else f"{topic.config['retention.ms']} ms"


def _section(topic: TopicSpec) -> str:
    size = f"{int(topic.config['max.message.bytes']):,}".replace(",", " ")
    found = messages(topic)
    title = _KINDS[found[0].kind]
    lines = [f"## {topic.name}", "", f"{topic.about} Largest message: {size} bytes. [{title}](#{_anchor(title)}).", ""]
    lines += ["| event (`ce_type`) | body |", "| --- | --- |"]
    lines += [row for message in found for row in _events(message)]
    return "\n".join(lines) + "\n"


def _anchor(title: str) -> str:
    """As GitHub makes it of a heading."""
    return title.lower().replace(" ", "-").translate(str.maketrans("", "", "',."))


def _events(message: Message) -> list[str]:
    if message.model is None:
        return ["| as the record | key, value and headers as they were; a reject of the extractor: the raw form |"]
    body = f"[`{message.model.__name__}`]({message.schema_path})"
    return [f"| `{name}`{_RESERVED if name in RESERVED else ''} | {body} |" for name in message.types]


def _headers(title: str, message: Message) -> str:
    schema = header_schema(message.kind, message.types)
    lines = [f"## {title}", "", "| header | there | what |", "| --- | --- | --- |"]
    for name, one in schema["properties"].items():
        needed = "always" if name in schema["required"] else "sometimes"
        what = one["description"] + (f": `{one['const']}`" if "const" in one else "")
        lines.append(f"| `{name}` | {needed} | {what} |")
    return "\n".join(lines) + "\n"
