"""Accepting a gap by name: what the portal did not show, and a person knows why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.documents import INVENTORY
from chatferry.common.errors import FatalError
from chatferry.common.ledger import GIVEN_UP, READ, gap_of, lacks

_WHERE = "`chatferry verify` and the report's JSON name the keys of gaps"


@dataclass(frozen=True, slots=True)
class Word:
    """Who accepts, when, and why."""

    by: str
    at: datetime
    reason: str | None


async def accept(database: Database, key: str, word: Word) -> dict[str, Any]:
    """Note the acceptance in the inventory, for the gap and state that the row has now; returns what was noted.

    Raises FatalError, with nothing noted, when there is nothing to accept or the row changes meanwhile.
    """
    name = word.by.strip()
    if not name:
        raise FatalError("accept.nobody", "an acceptance needs a name: --by NAME")
    with mongo_outage():
        found = await database[INVENTORY].find_one({"_id": key})
    row = acceptable(key, found)
    note = {"by": name, "at": word.at, "reason": word.reason, "gap": gap_of(row), "state": row["state"]}
    same = {"_id": key, **{field: row.get(field) for field in ("state", "gap", "claimed", "listed", "rejected", "run")}}
    with mongo_outage():
        result = await database[INVENTORY].update_one(same, {"$set": {"accepted": note}})
    if not result.matched_count:
        raise FatalError("accept.changed", f"{key} was read anew at this moment: look at its gap again")
    return note


def acceptable(key: str, row: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The row, if there is something to accept. Raises FatalError."""
    if row is None:
        raise FatalError("accept.unknown", f"the inventory has no {key!r}; {_WHERE}")
    state = str(row.get("state"))
    if state not in (*READ, *GIVEN_UP):
        raise FatalError(
            "accept.open", f"{key} is {state}: it was not read to its end, so its gap is not known; migrate first"
        )
    if not lacks(state, gap_of(row)):
        raise FatalError("accept.no_gap", f"{key} has no gap: there is nothing to accept; {_WHERE}")
    return row
