"""JSON as PHP portals send it: lone surrogates included, which orjson refuses in both directions."""

import json
from typing import Any

import orjson


def dump(value: Any) -> bytes:
    """Lone surrogates come out as `\\ud800` escapes, everything else as UTF-8."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def load(text: bytes | str) -> Any:
    """Raises ValueError for what is not JSON; lone surrogates are let through."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def array(items: list[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


def php_map(items: dict[str, bytes]) -> bytes:
    """Empty maps are `[]`. Maps with the keys 0..n become lists with holes closed, as the portal's batch does."""
    if not items:
        return b"[]"
    if all(key.isdecimal() for key in items):
        return array(list(items.values()))
    return b"{" + b",".join(dump(key) + b":" + body for key, body in items.items()) + b"}"
