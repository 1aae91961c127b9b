"""A record byte for byte inside a dead letter's row, however large: a document of MongoDB ends at 16 MB."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chatferry.common.adapters.mongo import Document, decode_document, encode_document

# Larger than this a record can only have come compressed, so that it is small again when it is packed.
_PACKED_FROM_BYTES = 4 * 1024 * 1024


class RawForm(NamedTuple):
    """What came from Kafka."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def keep_raw(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Document:
    """The field `raw`: {key, value, headers [[name, value]]}, or {packed} when that is large."""
    plain: Document = {"key": key, "value": value, "headers": [[name, one] for name, one in headers]}
    size = len(key or b"") + len(value or b"") + sum(len(name) + len(one or b"") for name, one in headers)
    return plain if size < _PACKED_FROM_BYTES else {"packed": zlib.compress(encode_document(plain))}


def read_raw(raw: Mapping[str, Any]) -> RawForm:
    """As it was."""
    plain = decode_document(zlib.decompress(raw["packed"])) if "packed" in raw else raw
    headers = tuple((str(name), _bytes(value)) for name, value in plain.get("headers") or ())
    return RawForm(_bytes(plain.get("key")), _bytes(plain.get("value")), headers)


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)
