"""Records that have no business on a topic, of every kind that Kafka lets somebody write there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from aiokafka import AIOKafkaProducer

Header = tuple[str, bytes | None]
UNDECODABLE, UNKNOWN = "undecodable", "unknown"
_TOPIC_TAKES = 1_048_576
_SPARE = 200
_NOBODYS = 900_000_000
_PREFIX = {"users": "source:user:", "chats": "source:chat:", "chat_messages": "source:chat:msg:"}


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """A record to send; `ends` is the class of its dead letter. `pressed`: sent compressed, so that the topic takes
    it although it is larger than a dead letter may be."""

    kind: str
    entity: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    ends: str = UNDECODABLE
    pressed: bool = False


@dataclass(frozen=True, slots=True)
class Maker:
    """`lines`: ids that real records are ordered by, for the fuzzed ones to stand between them."""

    random: Random
    project: str
    lines: Mapping[str, Sequence[int]]

    def draw(self, entity: str) -> Fuzzed:
        """One of the small kinds."""
        kind = self.random.choice(KINDS)
        return self.make(kind, entity)

    def make(self, kind: str, entity: str) -> Fuzzed:
        """One of this kind."""
        return replace(_KINDS[kind](self, self.stranger(entity)), kind=kind)

    def largest(self, entity: str) -> Fuzzed:
        """As large as the topic takes, and nothing that can be compressed."""
        good = self.stranger(entity)
        around = sum(len(name) + len(value or b"") + 4 for name, value in good.headers)
        return replace(
            good, kind="largest", value=self.random.randbytes(_TOPIC_TAKES - around - _SPARE), ends=UNDECODABLE
        )

    def pressed(self, entity: str) -> Fuzzed:
        """Three times what a dead letter may have, and a few kB on the wire."""
        return replace(
            self.stranger(entity), kind="pressed", value=b"x" * 3 * _TOPIC_TAKES, ends=UNDECODABLE, pressed=True
        )

    def stranger(self, entity: str) -> Fuzzed:
        """Without any fault, but of a record that nobody has read from the portal."""
        number = self.random.randrange(_NOBODYS, 2 * _NOBODYS)
        line = self.random.choice(self.lines[entity]) if entity == "chat_messages" else number
        value = json.dumps(_payload(entity, number, line)).encode()
        key = f"{_PREFIX[entity]}{number}"
        headers: tuple[Header, ...] = (
            ("ce_id", f"{key}@7".encode()),
            ("ce_type", f"{entity}.extracted".encode()),
            ("ce_subject", key.encode()),
            ("ce_recordversion", b"7"),
            ("ce_specversion", b"1.0"),
            ("ce_source", f"/chatferry/{self.project}/somebody".encode()),
            ("content-type", b"application/json"),
        )
        return Fuzzed("stranger", entity, b"%d" % line, value, headers, UNKNOWN)

    def real_line(self, entity: str) -> bytes:
        """The Kafka key of a real record."""
        return b"%d" % self.random.choice(self.lines[entity])


def _payload(entity: str, number: int, chat: int) -> dict[str, object]:
    nulls: tuple[str, ...]
    if entity == "users":
        nulls = ("name", "first_name", "last_name", "email", "active", "bot", "external", "work_position")
        return {"id": number, **dict.fromkeys(nulls), "departments": []}
    if entity == "chats":
        nulls = ("title", "description", "owner_id", "created_at", "entity_type", "entity_id")
        return {"id": number, "type": "group", **dict.fromkeys(nulls), "manager_ids": [], "participant_ids": []}
    moment = {
        "source_original": "2024-01-01T00:00:00+03:00",
        "utc": "2023-12-31T21:00:00Z",
        "original_offset": "+03:00",
    }
    flags = dict.fromkeys(("system", "deleted", "edited"), False)
    nulls = ("author_id", "reply_to", "forwarded_from")
    lists: dict[str, object] = {"files": [], "reactions": []}
    return {"id": number, "chat_id": chat, "text": "?", "sent_at": moment, **flags, **dict.fromkeys(nulls), **lists}


def _with(good: Fuzzed, name: str, value: bytes | None) -> Fuzzed:
    return replace(good, headers=tuple((n, value if n == name else v) for n, v in good.headers), ends=UNDECODABLE)


def _body(make: Maker, good: Fuzzed, value: bytes | None) -> Fuzzed:
    """A body of no use under the key of a real record."""
    return replace(good, key=make.real_line(good.entity), value=value, ends=UNDECODABLE)


def _header_not_utf8(make: Maker, good: Fuzzed) -> Fuzzed:
    return _with(good, make.random.choice(("ce_subject", "ce_type", "ce_source")), make.random.randbytes(9) + b"\xff")


def _header_null(make: Maker, good: Fuzzed) -> Fuzzed:
    return _with(good, make.random.choice(("ce_subject", "ce_type", "ce_source", "ce_recordversion")), None)


def _headers_none(make: Maker, good: Fuzzed) -> Fuzzed:
    return replace(good, key=make.real_line(good.entity), headers=(), ends=UNDECODABLE)


def _headers_many(make: Maker, good: Fuzzed) -> Fuzzed:
    """Hundreds, some without a name, and what a dead letter's copy has at its end."""
    more = tuple((make.random.choice(("", "x", "dlq-topic", "dlq-message")), None) for _ in range(300))
    return replace(good, headers=(*good.headers, *more))


def _twice_last_bad(make: Maker, good: Fuzzed) -> Fuzzed:
    del make
    return replace(good, headers=(*good.headers, ("ce_source", b"\xff")), ends=UNDECODABLE)


def _twice_last_good(make: Maker, good: Fuzzed) -> Fuzzed:
    del make
    return replace(good, headers=(("ce_subject", None), ("ce_type", b"\xff"), *good.headers))


def _version_huge(make: Maker, good: Fuzzed) -> Fuzzed:
    return _with(good, "ce_recordversion", b"9" * make.random.choice((17, 400, 5_000)))


def _other_schema(make: Maker, good: Fuzzed) -> Fuzzed:
    return _with(good, "ce_type", good.entity.encode() + make.random.choice((b".extracted.v9", b".removed", b"")))


def _more_fields(make: Maker, good: Fuzzed) -> Fuzzed:
    assert good.value is not None
    return _body(make, good, good.value[:-1] + b', "schema_version": 9}')


def _foreign(make: Maker, good: Fuzzed) -> Fuzzed:
    return _with(good, "ce_source", make.random.choice((b"/chatferry/another/somebody", b"/chatferry", b"urn:x")))


def _null(make: Maker, good: Fuzzed) -> Fuzzed:
    return _body(make, good, None)


def _not_json(make: Maker, good: Fuzzed) -> Fuzzed:
    assert good.value is not None
    broken = (b"", b"{", good.value[:-9], make.random.randbytes(200), b"\xff\xfe" + good.value, good.value * 2)
    return _body(make, good, make.random.choice(broken))


def _other_json(make: Maker, good: Fuzzed) -> Fuzzed:
    return _body(make, good, make.random.choice((b"null", b"[]", b"7", b'"x"', b"{}", b'{"id": "7"}', b'{"id": 1.5}')))


def _deep(make: Maker, good: Fuzzed) -> Fuzzed:
    return _body(make, good, make.random.choice((b"[", b'{"id":')) * make.random.choice((200, 50_000)))


def _number_huge(make: Maker, good: Fuzzed) -> Fuzzed:
    """Consistent in body, subject and key, so that nothing but its size is wrong."""
    assert good.value is not None
    number = make.random.choice((2**53 + 1, 2**63, 10**40, 10**400))
    payload = {**json.loads(good.value), "id": number}
    line = number if good.entity != "chat_messages" else payload["chat_id"]
    subject = _with(good, "ce_subject", f"{_PREFIX[good.entity]}{number}".encode())
    return replace(subject, key=b"%d" % line, value=json.dumps(payload).encode())


def _number_odd(make: Maker, good: Fuzzed) -> Fuzzed:
    rest = {name: value for name, value in json.loads(good.value or b"").items() if name != "id"}
    odd = make.random.choice((b"1e400", b"-1e400", b"NaN", b"Infinity", b"9" * 5_000, b"0x10", b"1" + b"0" * 4_200))
    return _body(make, good, b'{"id": ' + odd + b", " + json.dumps(rest).encode()[1:])


def _other_key(make: Maker, good: Fuzzed) -> Fuzzed:
    key = make.random.choice((b"x", b"\xff", b"007", b"1" * 300))
    return replace(good, key=key, ends=UNDECODABLE)


def _replay_of_nothing(make: Maker, good: Fuzzed) -> Fuzzed:
    place = make.random.choice((b"nowhere/0/0", b"\xff", b"x" * 2_000, b"chat_messages/0/" + b"9" * 5_000))
    return _body(make, replace(good, headers=(*good.headers, ("replay-of", place))), b"?")


def _traceparent_odd(make: Maker, good: Fuzzed) -> Fuzzed:
    odd = make.random.choice((b"00-0-0-0", b"x" * 3_000, b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"))
    return replace(good, headers=(*good.headers, ("traceparent", odd)))


def _stranger(make: Maker, good: Fuzzed) -> Fuzzed:
    del make
    return good


_MADE = (
    _header_not_utf8,
    _header_null,
    _headers_none,
    _headers_many,
    _twice_last_bad,
    _twice_last_good,
    _version_huge,
    _other_schema,
    _more_fields,
    _foreign,
    _null,
    _not_json,
    _other_json,
    _deep,
    _number_huge,
    _number_odd,
    _other_key,
    _replay_of_nothing,
    _traceparent_odd,
    _stranger,
)
_KINDS: dict[str, Callable[[Maker, Fuzzed], Fuzzed]] = {made.__name__.removeprefix("_"): made for made in _MADE}
KINDS = tuple(_KINDS)


class Fuzzer:
    """An async context manager that writes to the topics of a project, with none of our code."""

    def __init__(self, kafka: str, project: str) -> None:
        self._project = project
        plain = {"bootstrap_servers": kafka, "max_request_size": 8 * _TOPIC_TAKES, "acks": "all"}
        self._plain = AIOKafkaProducer(**plain)
        self._pressing = AIOKafkaProducer(**plain, compression_type="gzip")

    async def __aenter__(self) -> Fuzzer:
        await self._plain.start()
        await self._pressing.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._plain.stop()
        await self._pressing.stop()

    async def send(self, records: Sequence[Fuzzed]) -> dict[str, Fuzzed]:
        """Each by the place that it got: topic/partition/offset."""
        waiting = []
        for one in records:
            producer = self._pressing if one.pressed else self._plain
            topic, headers = f"{self._project}.{one.entity}", list(one.headers)
            waiting.append(await producer.send(topic, one.value, key=one.key, headers=headers))
        there = [await answer for answer in waiting]
        return {f"{at.topic}/{at.partition}/{at.offset}": one for at, one in zip(there, records, strict=True)}
