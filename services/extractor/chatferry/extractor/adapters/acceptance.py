"""A gap that somebody has accepted, as MongoDB sees it: that gap, in that state, and no other (common.ledger)."""

from __future__ import annotations

from typing import Any

_COUNTED = {"$add": [{"$ifNull": ["$listed", 0]}, {"$ifNull": ["$rejected", 0]}]}
_CLAIMED = {"$ifNull": ["$claimed", None]}
_GAP = {"$ifNull": ["$gap", {"$cond": [{"$eq": [_CLAIMED, None]}, 0, {"$subtract": ["$claimed", _COUNTED]}]}]}
ACCEPTED: dict[str, Any] = {
    "$expr": {"$and": [{"$eq": ["$accepted.state", "$state"]}, {"$eq": ["$accepted.gap", _GAP]}]}
}
"""Which rows of the inventory; says the same as `accepted_by` of the verifier."""
