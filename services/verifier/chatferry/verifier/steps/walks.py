"""What the portal was not read of: walks that are not closed, gaps, chats that no webhook may read."""

from __future__ import annotations

from typing import Any

from chatferry.common.entities import Family
from chatferry.verifier.domain.facts import Facts, Mismatch, Row
from chatferry.verifier.ports import Findings

_GAPS_SHOWN = 1_000


async def look_at_walks(rows: list[Row], family: Family, facts: Facts, findings: Findings) -> None:
    """Enter what is not closed and what is lacking into the facts, and name each by its key."""
    found = []
    for row in rows:
        accepted = row.accepted_by is not None
        facts.open_walks += row.open
        facts.open_gaps += row.lacks and not accepted
        if row.lacks:
            _show(row, facts)
        if not row.closed and not accepted:
            found.append(_mismatch(row, family, "walk", {"state": row.state, "reason": row.reason}))
        if not row.open and not accepted and row.gap:
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
                "accepted_at": row.accepted.at if row.accepted is not None and row.accepted_by else None,
                "accepted_reason": row.accepted.reason if row.accepted is not None and row.accepted_by else None,
            }
        )
    if row.state in ("failed", "unreadable") and len(facts.not_readable) < _GAPS_SHOWN:
        facts.not_readable.append({"entity": row.entity, "key": row.key, "state": row.state, "reason": row.reason})


def _mismatch(row: Row, family: Family, check: Any, detail: dict[str, Any]) -> Mismatch:
    return Mismatch(row.entity or family.root.name, row.key, None, check, "", detail)
