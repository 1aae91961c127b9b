"""What only the target knows as a whole: records under no known parent, and the seeded sample, fetched by key."""

from __future__ import annotations

from dataclasses import dataclass

from chatferry.common.entities import Entity
from chatferry.verifier.domain.errors import ReadBackError
from chatferry.verifier.domain.facts import Facts, Mismatch
from chatferry.verifier.domain.lines import TargetItem
from chatferry.verifier.ports import Findings, Records, Target
from chatferry.verifier.steps.explain import sampled

# Records of 2 MiB each, so that an answer stays below what a target sends at once.
_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of the comparison, and where its mismatches go."""

    records: Records
    target: Target
    findings: Findings


async def look_for_orphans(entity: Entity, root: Entity, sides: Sides) -> int:
    """Records of the target under a root that the source does not have; those under known roots were listed there."""
    await sides.findings.begin(entity, None)
    after, found = None, 0
    while True:
        page = await sides.target.page(entity, None, after)
        above = {item.key: _root_key(entity, root, item) for item in page.items}
        known = await sides.records.payloads(root, {key for key in above.values() if key is not None})
        orphans = [item for item in page.items if above[item.key] not in known]
        await sides.findings.add(
            [
                Mismatch(entity.name, item.key, None, "extra", "", {"version": item.version, "orphan": True})
                for item in orphans
            ]
        )
        found += len(orphans)
        after = page.next
        if after is None:
            return found


def _root_key(entity: Entity, root: Entity, item: TargetItem) -> str | None:
    if entity.parent_of is None:
        return None
    try:
        return root.key(entity.parent_of(item.data))
    except (KeyError, TypeError, ValueError):
        # Not the shape of a canonical record, so under no root.
        return None


async def check_sample(entity: Entity, keys: list[str], facts: Facts, sides: Sides) -> None:
    """Compare the content fields of each sampled record with what `get` returns for its key."""
    for start in range(0, len(keys), _AT_ONCE):
        payloads = await sides.records.payloads(entity, keys[start : start + _AT_ONCE])
        try:
            items = await sides.target.get(entity, list(payloads))
        except ReadBackError as unusable:
            facts.unreadable += 1
            facts.sample_checked += len(payloads)
            facts.sample_mismatches += len(payloads)
            await sides.findings.add(
                [Mismatch(entity.name, "*", None, "read_back", "get", {"reason": unusable.sentence})]
            )
            continue
        for key, payload in payloads.items():
            item = items.get(key)
            found = sampled(entity, key, payload, None if item is None else item.data)
            facts.sample_checked += 1
            facts.sample_mismatches += bool(found)
            await sides.findings.add(found)
