"""Dead letters in groups, and one by one; without anything that a person wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.documents import DEAD_LETTERS
from chatferry.operator.dlq.delivery import halted
from chatferry.operator.dlq.selection import Selection

STATES = ("dead", "replaying", "replayed", "superseded", "discarded")
_LIVING = {"state": {"$in": ["dead", "replaying"]}}
_NARROW = 100
_CHAT = {"$cond": [{"$eq": ["$entity", "chats"]}, "$seq", "$parent"]}
_GROUPED: list[dict[str, Any]] = [
    {
        "$group": {
            "_id": {"error_class": "$error_class", "code": "$code", "entity": "$entity", "chat": _CHAT},
            "dead": {"$sum": {"$cond": [{"$eq": ["$state", "dead"]}, 1, 0]}},
            "replaying": {"$sum": {"$cond": [{"$eq": ["$state", "replaying"]}, 1, 0]}},
            "oldest": {"$min": "$at"},
            "example": {"$min": "$_id"},
        }
    },
    {"$sort": {"dead": -1, "replaying": -1, "oldest": 1, "example": 1}},
]
_EACH = {"entity": 1, "key": 1, "error_class": 1, "code": 1, "state": 1, "at": 1}


async def grouped(database: Database, selection: Selection) -> dict[str, Any]:
    """What `dlq list --json` prints. Groups of what is dead or on the way, the largest first; `oldest` in UTC."""
    rows, match = database[DEAD_LETTERS], selection.match()
    living = {"$and": [_LIVING, match]}
    by_state = [{"$match": match}, {"$group": {"_id": "$state", "n": {"$sum": 1}}}]
    with mongo_outage():
        totals = {row["_id"]: int(row["n"]) async for row in rows.aggregate(by_state)}
        groups = [_group(row) async for row in rows.aggregate([{"$match": living}, *_GROUPED], allowDiskUse=True)]
    return {
        "totals": {state: totals.get(state, 0) for state in STATES},
        "groups": groups,
        "halted": await halted(database),
    }


async def each(database: Database, selection: Selection, most: int) -> list[dict[str, Any]]:
    """The oldest ones, one by one."""
    living = {"$and": [_LIVING, selection.match()]}
    with mongo_outage():
        rows = database[DEAD_LETTERS].find(living, _EACH).sort([("at", 1), ("_id", 1)]).limit(most)
        return [{"id": row.pop("_id"), **row, "at": _iso(row["at"])} async for row in rows]


def _group(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row["_id"],
        "dead": row["dead"],
        "replaying": row["replaying"],
        "oldest": _iso(row["oldest"]),
        "example": row["example"],
    }


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def show_groups(found: Mapping[str, Any], console: Console, most: int) -> None:
    """For people: the largest groups, and what all of them are together."""
    groups: Sequence[Mapping[str, Any]] = found["groups"]
    narrow = console.width < _NARROW
    table = Table(box=None, pad_edge=False)
    counted = ["dead", "replaying"] if any(group["replaying"] for group in groups[:most]) else ["dead"]
    for name in counted:
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("class", "code", "entity"):
        table.add_column(name, overflow="fold")
    table.add_column("chat", justify="right", no_wrap=True)
    table.add_column("oldest (UTC)", no_wrap=True)
    if not narrow:
        table.add_column("one of them", overflow="fold")
    for group in groups[:most]:
        table.add_row(*map(Text, _cells(group, counted, narrow=narrow)))
    if groups:
        console.print(table)
    if len(groups) > most:
        console.print(f"and {len(groups) - most:,} more groups: --limit, --json", highlight=False)
    totals = ", ".join(f"{count:,} {state}" for state, count in found["totals"].items() if count)
    console.print(totals or "there are no dead letters", highlight=False)
    for sentence in found["halted"].values():
        console.print(Text(f"stopped: {sentence}", style="red"))


def show_each(letters: Sequence[Mapping[str, Any]], console: Console, most: int) -> None:
    """For people: one line each, and nothing cut off; the id is what `show` and --id take."""
    for letter in letters:
        line = f"{letter['id']}  {letter['key'] or '-'}  {letter['error_class']} {letter['code']}"
        console.print(f"{line}  {letter['state']}  {letter['at']}", highlight=False, markup=False, soft_wrap=True)
    if len(letters) == most:
        console.print(f"the {most} oldest: --limit shows more", highlight=False)


def _cells(group: Mapping[str, Any], counted: Sequence[str], *, narrow: bool) -> list[str]:
    counts = [f"{group[name]:,}" if group[name] else "-" for name in counted]
    oldest = str(group["oldest"]).replace("T", " ")[:16]
    chat = "-" if group["chat"] is None else str(group["chat"])
    cells = [*counts, str(group["error_class"]), str(group["code"]), str(group["entity"]), chat, oldest]
    return cells if narrow else [*cells, str(group["example"])]
