"""Dead letters on purpose: replayed with the command until none is left, and the run verified after all."""

from __future__ import annotations

import time
from collections import Counter

from tests.chaos.frame import Chaos, Json
from tests.chaos.proof import assert_equal, assert_ledger_agrees, command

from chatferry.operator.runs import Options

_WAITING = {"status": {"$in": ["NEW", "ERROR_RETRY"]}}


def by_state(chaos: Chaos) -> dict[str, int]:
    """Dead letters by state."""
    return dict(Counter(row["state"] for row in chaos.database.dead_letters.find({}, {"state": 1})))


def died(chaos: Chaos, error_class: str) -> Counter[str]:
    """How often each record became a dead letter of this class."""
    rows = chaos.database.dead_letters.find({"error_class": error_class}, {"key": 1})
    return Counter(str(row["key"]) for row in rows)


def held(chaos: Chaos) -> bool:
    """Whether all that waits does so behind a dead letter, so that nothing moves by itself any more."""
    dead = set(chaos.database.dead_letters.distinct("line", {"state": "dead"}))
    waiting = set(chaos.database.chat_messages.distinct("parent", _WAITING))
    return waiting | set(chaos.database.chats.distinct("seq", _WAITING)) <= dead


def replay_all(chaos: Chaos, error_class: str, seconds: float) -> list[float]:
    """Replay, wait until what was held has moved on, and again while more of them died; seconds of each replay."""
    spent: list[float] = []
    while chaos.database.dead_letters.count_documents({"state": "dead"}):
        began = time.monotonic()
        command(chaos, "dlq", "replay", "--class", error_class)
        spent.append(time.monotonic() - began)
        chaos.until(lambda: held(chaos), "what was held moves on, or waits behind another", seconds)
    return spent


def prove_at_last(chaos: Chaos, seconds: float) -> int:
    """Verified although records have died: nothing dead or parked is left, all is equal, the stranger agrees."""
    run: Json = chaos.migrate("chats", seconds, Options(phases=("verify",)))
    report = chaos.database.verify_reports.find_one({"run": run["_id"]}) or {}
    assert run["state"] == "verified", f"{run}\n{report.get('reasons')}\n{chaos.story()}"
    assert by_state(chaos).keys() <= {"replayed", "discarded", "superseded"}, by_state(chaos)
    assert chaos.database.parked.count_documents({}) == 0
    for entity in ("users", "chats", "chat_messages"):
        assert chaos.database[entity].distinct("status") == ["IMPORT_OK"], entity
    messages = assert_equal(chaos)
    assert_ledger_agrees(chaos)
    assert chaos.processes.failed() is None
    return messages
