"""What of a dead letter may be seen without --reveal: ids, times, flags; nothing that anybody wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from chatferry.common.contracts.envelope import REPLAY_OF

_NAME = re.compile(r"[A-Za-z_]{1,32}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?(?:Z|[+-]\d\d:\d\d)?")
_OFFSET = re.compile(r"[+-]\d\d:\d\d")
# The names of our records and of the portal's. Any other id may be a telephone's, as a chat's entity_id is.
_NAMES_A_RECORD = re.compile(
    r"(?:(?:chat|message|user|author|owner)_)?id|(?:user|manager|participant)_ids|size_bytes|departments|participants",
    re.IGNORECASE,
)
_LARGEST_ID = 2**53
_KINDS = frozenset({"private", "group", "open", "channel", "openline", "object"})
_KEY = re.compile(r"source:[a-z:]{1,40}\d{1,19}(?::\d{1,19})?")
_HEADERS: Mapping[str, re.Pattern[str]] = {
    "ce_id": re.compile(rf"{_KEY.pattern}@\d{{1,16}}"),
    "ce_subject": _KEY,
    "ce_type": re.compile(r"[a-z_]{1,40}\.extracted"),
    "ce_recordversion": re.compile(r"\d{1,16}"),
    "ce_specversion": re.compile(r"1\.0"),
    "ce_source": re.compile(r"/chatferry/[a-z0-9-]{1,32}/[a-z0-9.:-]{1,253}"),
    "ce_time": _MOMENT,
    "content-type": re.compile(r"application/json"),
    "traceparent": re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
    REPLAY_OF: re.compile(r"[a-z][a-z0-9-]{0,31}\.[a-z_]{1,40}/\d{1,6}/\d{1,19}"),
}


def body(value: bytes | None, *, reveal: bool) -> str:
    """The body decoded: indented JSON, or a word about what it is instead."""
    if value is None:
        return "no body"
    try:
        content = json.loads(value)
        text = json.dumps(content if reveal else _masked(content, ""), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError) as unreadable:
        if reveal:
            return value.decode(errors="replace")
        why = " that are not JSON" if isinstance(unreadable, ValueError) else ", nested too deeply to be shown"
        return f"‹{len(value):,} bytes{why}›"
    # Half of a pair is no text that a terminal takes: it stays as JSON writes it.
    return text.encode(errors="backslashreplace").decode()


def header(name: str, value: bytes | None, *, reveal: bool) -> tuple[str, str]:
    """Name and value of one header; of those that we wrote only what has our form."""
    if value is None:
        return name if reveal or name in _HEADERS else "‹name›", "null"
    text = value.decode(errors="replace")
    known = _HEADERS.get(name)
    if reveal or (known is not None and known.fullmatch(text)):
        return name, text
    return (name if known is not None else "‹name›"), _hidden(text)


def kafka_key(value: bytes | None, content: bytes | None, *, reveal: bool) -> str:
    """The id that orders the record; anything else is somebody's text.

    One as long as a telephone number has to be an id of the body's too.
    """
    if value is None:
        return "null"
    text = value.decode(errors="replace")
    return text if reveal or re.fullmatch(r"[0-9]{1,9}", text) or text in _ids(content) else _hidden(text)


def _ids(content: bytes | None) -> set[str]:
    try:
        record = json.loads(content or b"")
    except (ValueError, RecursionError):
        return set()
    ids = [record.get("id"), record.get("chat_id")] if isinstance(record, dict) else []
    return {str(one) for one in ids if isinstance(one, int) and one <= _LARGEST_ID}


def _masked(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {_key(key, number): _masked(one, str(key)) for number, (key, one) in enumerate(value.items())}
    if isinstance(value, list):
        return [_masked(one, name) for one in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if _NAMES_A_RECORD.fullmatch(name) else "‹number›"
    return value if _shows_itself(name, str(value)) else _hidden(str(value))


def _shows_itself(name: str, text: str) -> bool:
    if _MOMENT.fullmatch(text) or _OFFSET.fullmatch(text):
        return True
    if name == "type":
        return text in _KINDS
    return bool(_NAMES_A_RECORD.fullmatch(name) and re.fullmatch(r"\d{1,19}", text))


def _key(name: str, number: int) -> str:
    return name if _NAME.fullmatch(name) else f"‹name {number}›"


def _hidden(text: str) -> str:
    return f"‹{len(text):,} signs›"
