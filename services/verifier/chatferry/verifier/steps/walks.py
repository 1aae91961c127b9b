"""What the portal was not read of: walks that are not closed, gaps, chats that no webhook may read."""

from __future__ import annotations

from typing import Any

from chatferry.common.entities import Family
from chatferry.verifier.domain.facts import Facts, Mismatch, Row
from chatferry.verifier.ports import Findings

_GAPS_SHOWN = 1_000
_FINAL = ("failed", "unreadable", "unresolvable")


async def look_at_walks(rows: list[Row], family: Family, facts: Facts, findings: Findings) -> None:
    """Enter what is not closed and what is lacking into the facts, and name each by its key."""
    found = []
    for row in rows:
        if not row.closed and row.accepted_by is None:
            facts.open_walks += row.state not in _FINAL
            found.append(_mismatch(row, family, "walk", {"state": row.state, "reason": row.reason}))
        if row.state in _FINAL or row.gap:
            facts.open_gaps += row.accepted_by is None
            _show(row, facts)
        if row.gap and row.accepted_by is None:
            detail = {"claimed": row.claimed, "listed": row.listed, "gap": row.gap, "reason": row.reason}
            found.append(_mismatch(row, family, "gap", detail))
    await findings.add(found)


def _show(row: Row, facts: Facts) -> None:
    if len(facts.gaps) < _GAPS_SHOWN:
        facts.gaps.append(
            {
                "entity": row.entity,
                "key": row.key,
                "state": row.state,
                "claimed": row.claimed,
                "listed": row.listed,
                "gap": row.gap,
                "reason": row.reason,
                "accepted_by": row.accepted_by,
            }
        )
    if row.state in ("failed", "unreadable") and len(facts.not_readable) < _GAPS_SHOWN:
        facts.not_readable.append({"entity": row.entity, "key": row.key, "state": row.state, "reason": row.reason})


def _mismatch(row: Row, family: Family, check: Any, detail: dict[str, Any]) -> Mismatch:
    return Mismatch(row.entity or family.root.name, row.key, None, check, "", detail)
