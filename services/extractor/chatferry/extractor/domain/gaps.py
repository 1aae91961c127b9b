"""How complete a walk was."""

from __future__ import annotations


def gap_reason(claimed: int, listed: int, *, limited: bool, walks: int) -> str | None:
    """None when the walk found what the portal claimed, else why it may not have."""
    if limited:
        return "test limit: only the newest were asked for"
    if claimed == listed:
        return None
    if claimed > listed:
        more = claimed - listed
        return f"the portal counts {more} more than it shows ({walks} walks): hidden history, or deleted meanwhile"
    return f"the portal shows {listed - claimed} more than it counts ({walks} walks)"
