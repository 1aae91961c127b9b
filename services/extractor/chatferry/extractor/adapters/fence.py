"""What a process whose lease is over may not write."""

from __future__ import annotations

from chatferry.common.adapters.mongo import Document


def not_newer(epoch: int) -> Document:
    """Rows that were not written under a newer lease."""
    return {"$or": [{"epoch": {"$lte": epoch}}, {"epoch": None}]}
