"""From raw rows to records that can be stored: canonical, hashed, or rejected with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from chatferry.common.contracts.canonical import canonical_json, hash_of_canonical
from chatferry.common.entities import Entity
from chatferry.common.entities.reading import Page, Parser, Understanding, whole
from chatferry.common.errors import RejectError


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record as one read saw it. `payload` is None for a reject, whose `raw` form goes to the dead letters."""

    key: str
    seq: int
    parent: int | None
    payload: dict[str, Any] | None
    hash: str
    flags: tuple[str, ...] = ()
    code: str | None = None
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class Canonicalizer:
    """Turns rows of one entity into candidates. `bytes_max`: the largest record that its topic takes."""

    entity: Entity
    parser: Parser
    told: Understanding
    bytes_max: int

    def page(self, page: Page, parent: int | None) -> list[Candidate]:
        """One candidate a row, rejects too."""
        candidates = [self.row(row, page.extras, parent) for row in page.rows]
        return candidates + [self._reject(row, parent, "record.no_id") for row in page.unidentified]

    def row(self, row: Mapping[str, Any], extras: Mapping[str, Any], parent: int | None) -> Candidate:
        """The candidate of one row."""
        try:
            parsed = self.parser(row, extras, self.told)
            payload, flags = parsed.payload, parsed.flags
            try:
                body = canonical_json(payload)
            except TypeError:
                payload, flags = scrubbed(payload), (*flags, "altered")
                body = canonical_json(payload)
            self.entity.model.model_validate_json(body)
        except RejectError as reject:
            return self._reject(row, parent, reject.code)
        except (ValidationError, TypeError):
            return self._reject(row, parent, "record.unreadable")
        if len(body) > self.bytes_max:
            return self._reject(row, parent, "record.too_large")
        owner = self.entity.parent_of(payload) if self.entity.parent_of else None
        if owner != parent:
            return self._reject(row, parent, "record.wrong_parent")
        return Candidate(self.entity.key(payload["id"]), payload["id"], parent, payload, hash_of_canonical(body), flags)

    def nameless(self, row: Any, traits: Mapping[str, Any]) -> Candidate:
        """The reject of a listed row that names no root; it is the same one wherever the traits, if any, are."""
        reject = self._reject(row, None, "record.no_id")
        digest = hash_of_canonical(_raw(traits)) if traits else reject.hash
        return replace(reject, key=self._unidentified(digest), seq=0, hash=digest)

    def _unidentified(self, digest: str) -> str:
        return self.entity.key(f"unidentified:{digest[:16]}")

    def _reject(self, row: Any, parent: int | None, code: str) -> Candidate:
        raw = _raw(row)
        digest = hash_of_canonical(raw)
        number = (whole(row.get("id")) or whole(row.get("ID"))) if isinstance(row, Mapping) else None
        key = self._unidentified(digest) if number is None else self.entity.key(number)
        return Candidate(key, number or 0, parent, None, digest, (), code, raw)


def _raw(value: Any) -> bytes:
    # The standard library's: it takes integers of any size.
    return json.dumps(scrubbed(value), ensure_ascii=False, sort_keys=True, default=str).encode()


def scrubbed(value: Any) -> Any:
    """The same value with U+FFFD in place of every lone surrogate."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {scrubbed(key): scrubbed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(inner) for inner in value]
    return value


def mentioned_users(entity: Entity, candidates: Iterable[Candidate]) -> set[int]:
    """Every user that these records mention."""
    return {user for one in candidates if one.payload is not None for user in entity.user_ids(one.payload)}
