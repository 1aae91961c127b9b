"""The canonical JSON of a record and its hash (design: data.md §1)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson


def canonical_json(payload: Mapping[str, Any]) -> bytes:
    """UTF-8, keys sorted, no spaces, no ASCII escapes. Raises TypeError for a lone surrogate or a value JSON lacks."""
    return orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)


def hash_of_canonical(body: bytes) -> str:
    """SHA-256, in hex, of bytes that are canonical JSON already."""
    return hashlib.sha256(body).hexdigest()


def payload_hash(payload: Mapping[str, Any]) -> str:
    """SHA-256, in hex, over the canonical JSON: equal content has equal hashes, whoever computes it."""
    return hash_of_canonical(canonical_json(payload))
