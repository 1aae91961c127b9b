"""What can be accepted by name, and the sentences about what cannot."""

from __future__ import annotations

from typing import Any

import pytest

from chatferry.common.errors import FatalError
from chatferry.operator.accept import acceptable

KEY = "source:chat:7"
CLOSED = {"state": "closed", "claimed": 10, "listed": 7, "rejected": 0, "gap": 3, "reason": "hidden history"}


@pytest.mark.parametrize(
    "row",
    [
        CLOSED,
        {**CLOSED, "gap": -1},
        {"state": "unreadable", "gap": None, "claimed": None, "listed": 0},
        {"state": "unresolvable"},
    ],
)
def test_a_gap_and_what_was_given_up_can_be_accepted(row: dict[str, Any]) -> None:
    assert acceptable(KEY, row) is row


@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        (None, "accept.unknown", "has no 'source:chat:7'"),
        ({**CLOSED, "listed": 10, "gap": 0, "reason": None}, "accept.no_gap", "has no gap"),
        ({**CLOSED, "state": "walking"}, "accept.open", "migrate first"),
        ({"state": "wanted"}, "accept.open", "migrate first"),
    ],
)
def test_what_cannot_be_accepted_is_said_in_a_sentence(row: dict[str, Any] | None, code: str, words: str) -> None:
    with pytest.raises(FatalError, match=words) as refused:
        acceptable(KEY, row)
    assert refused.value.code == code
    assert "\n" not in str(refused.value)
