"""What a run without a verification left undone: dead, waiting, never read. The verifier's report says it otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.counts import Count
from chatferry.common.documents import DEAD_LETTERS, INVENTORY
from chatferry.common.entities import FAMILIES, Family
from chatferry.common.ledger import gap_of, lacks

_GAPS_NAMED = 20
_LIVING = ["dead", "replaying"]


@dataclass(slots=True)
class Lacking:
    """`dead` and `waiting` by entity; `gaps`: the first of those that nobody accepted, as `gap_line` takes them."""

    dead: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    gaps_total: int = 0

    def reasons(self, family: str) -> Iterator[str]:
        """Why not everything is as it was asked for, a sentence each; none: it is."""
        for entity, count in self.dead.items():
            yield f"{_records(count, entity)} dead: `chatferry dlq list` says why, and what to do"
        for entity, count in self.waiting.items():
            yield f"{_records(count, entity)} still waiting for the import: `chatferry migrate {family}` goes on"
        if self.gaps_total:
            gaps = "1 gap is" if self.gaps_total == 1 else f"{self.gaps_total} gaps are"
            yield f"{gaps} accepted by nobody; `chatferry accept KEY --by NAME` takes one that may stay"


async def lacking(database: Database, family: Family, counts: Sequence[Count], *, delivered: bool) -> Lacking:
    """Of a family and those it needs. `delivered`: that records wait is no wonder where none was to be delivered."""
    families = [*(FAMILIES[need] for need in family.needs), family]
    found = Lacking(waiting={one.entity: one.waiting for one in counts if one.waiting and delivered})
    with mongo_outage():
        for one in families:
            for entity in one.entities:
                of_it = {"entity": entity.name, "state": {"$in": _LIVING}}
                if dead := await database[DEAD_LETTERS].count_documents(of_it):
                    found.dead[entity.name] = int(dead)
            async for row in database[INVENTORY].find(_rows_of(one)).sort("_id", 1):
                _look(row, found)
    return found


def moved(before: Sequence[Count], after: Sequence[Count]) -> int:
    """Records that were imported meanwhile."""
    return max(0, sum(one.imported for one in after) - sum(one.imported for one in before))


def _rows_of(family: Family) -> dict[str, Any]:
    """Roots, strangers and the listing; `:` comes after `9`, and keys of other entities go on with a letter."""
    prefix = family.root.key_prefix
    ranges = [{"_id": {"$gt": start, "$lt": f"{start}:"}} for start in (prefix, f"stranger:{prefix}")]
    return {"$or": [*ranges, {"_id": f"listing:{family.root.name}"}]}


def _look(row: Mapping[str, Any], found: Lacking) -> None:
    state, gap, accepted = str(row.get("state")), gap_of(row), row.get("accepted") or {}
    if not lacks(state, gap) or (accepted.get("gap"), accepted.get("state")) == (gap, state):
        return
    found.gaps_total += 1
    if len(found.gaps) < _GAPS_NAMED:
        found.gaps.append(
            {"key": row["_id"], "state": state, "gap": gap, "reason": row.get("reason"), "accepted_by": None}
        )


def _records(count: int, entity: str) -> str:
    return f"{count} {'record' if count == 1 else 'records'} of {entity} {'is' if count == 1 else 'are'}"
