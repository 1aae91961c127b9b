"""Names what a comparison found: each difference to the record and the field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from chatferry.common.contracts.canonical import payload_hash
from chatferry.common.documents import SKIPPED
from chatferry.common.entities import Entity
from chatferry.common.entities.users import USERS
from chatferry.verifier.domain.comparison import Finding, Kind
from chatferry.verifier.domain.facts import Mismatch
from chatferry.verifier.domain.fields import differences
from chatferry.verifier.ports import Records

_PAYLOADS_AT_ONCE = 50
_FIELDS_MAX = 50
_PREFIX = 12


async def explain(
    records: Records, entity: Entity, parent: str | None, findings: Sequence[Finding]
) -> tuple[list[Mismatch], int]:
    """The mismatches of the findings, and in how many of them the users of a root record differ."""
    mismatches: list[Mismatch] = []
    users_differ = 0
    for start in range(0, len(findings), _PAYLOADS_AT_ONCE):
        chunk = findings[start : start + _PAYLOADS_AT_ONCE]
        keys = [finding.key for finding in chunk if finding.kind is Kind.DIFFERENT and not _kept(finding)]
        payloads = await records.payloads(entity, keys) if keys else {}
        for finding in chunk:
            mismatches += _named(entity, parent, finding, payloads.get(finding.key))
            if entity.parent is None and finding.key in payloads and finding.item is not None:
                users = _users(entity, finding.key, payloads[finding.key], finding.item.data)
                users_differ += bool(users)
                mismatches += users
    return mismatches, users_differ


def _named(entity: Entity, parent: str | None, finding: Finding, payload: Mapping[str, Any] | None) -> list[Mismatch]:
    line, item = finding.line, finding.item
    if line is None and item is not None:
        detail: dict[str, Any] = {"version": item.version, "twice": finding.twice}
        return [Mismatch(entity.name, item.key, parent, "extra", "", detail)]
    if line is None or item is None:
        status = line.status if line is not None else None
        return [Mismatch(entity.name, finding.key, parent, "missing", "", {"status": status})]
    found = []
    if line.version != item.version:
        versions = {"source": line.version, "target": item.version}
        found.append(Mismatch(entity.name, line.key, parent, "version", "version", versions))
    if line.hash != item.hash:
        found.append(_hashes(entity, line.key, parent, "hash", (line.hash, item.hash)))
    if line.target_id is not None and line.target_id != item.id:
        ids = {"source": line.target_id, "target": item.id}
        found.append(Mismatch(entity.name, line.key, parent, "id", "id", ids))
    if line.hash != finding.content_hash:
        found += _contents(entity, parent, finding, payload)
    return found


def _kept(finding: Finding) -> bool:
    """A skipped record of which the target has an older version."""
    return finding.line is not None and finding.line.status == SKIPPED


def _contents(
    entity: Entity, parent: str | None, finding: Finding, payload: Mapping[str, Any] | None
) -> list[Mismatch]:
    if _kept(finding):
        # What was imported is not stored any more: only its hash.
        hashes = (finding.line.hash if finding.line is not None else "", finding.content_hash or "")
        return [_hashes(entity, finding.key, parent, "data", hashes)]
    data = finding.item.data if finding.item is not None else {}
    fields = differences(payload or {}, data)[:_FIELDS_MAX]
    if payload is not None and not fields:
        # The target has what the source's record says; the source's own hash is not that of its record.
        hashes = (finding.line.hash if finding.line is not None else "", payload_hash(payload))
        return [_hashes(entity, finding.key, parent, "payload_hash", hashes)]
    return [Mismatch(entity.name, finding.key, parent, "content", one.path, one.as_detail()) for one in fields]


def _hashes(entity: Entity, key: str, parent: str | None, field: str, hashes: tuple[str, str]) -> Mismatch:
    source, target = hashes
    detail = {"source_hash": source[:_PREFIX], "target_hash": target[:_PREFIX]}
    return Mismatch(entity.name, key, parent, "hash", field, detail)


def _users(entity: Entity, key: str, source: Mapping[str, Any], target: Mapping[str, Any]) -> list[Mismatch]:
    """Users that one side has and the other has not, or in another role: how often each side names them."""
    one = Counter(entity.user_ids(source))
    try:
        other = Counter(entity.user_ids(target))
    except (KeyError, TypeError, AttributeError):
        # Not the shape of a canonical record; the fields are named as contents.
        other = Counter()
    return [
        Mismatch(
            entity.name,
            key,
            None,
            "participants",
            USERS.key(user),
            {"user_id": user, "named_by_source": one[user], "named_by_target": other[user]},
        )
        for user in sorted({user for user in (*one, *other) if one[user] != other[user]}, key=str)
    ]


def sampled(entity: Entity, key: str, payload: Mapping[str, Any], data: Mapping[str, Any] | None) -> list[Mismatch]:
    """The content fields of one sampled record that differ; a record that `get` lacks differs as a whole."""
    parent = None
    if data is None:
        return [Mismatch(entity.name, key, parent, "sample", "", {"missing": True})]
    one = {name: payload.get(name) for name in entity.content}
    other = {name: data[name] for name in entity.content if name in data}
    return [
        Mismatch(entity.name, key, parent, "sample", field.path, field.as_detail()) for field in differences(one, other)
    ]
