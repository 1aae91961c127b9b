"""One dead letter, whole: what became of it, and the record as it was."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.documents import DEAD_LETTERS
from chatferry.common.errors import FatalError
from chatferry.operator.dlq.mask import body, header, kafka_key
from chatferry.operator.dlq.ports import Content, Contents, Letter

_FIELDS = ("entity", "key", "version", "state", "error_class", "code", "message", "attempts", "reason", "by", "at")


async def find(database: Database, name: str) -> dict[str, Any]:
    """By its id, or of a record's key the one that lives, else the newest. Raises FatalError."""
    rows = database[DEAD_LETTERS]
    with mongo_outage():
        row = await rows.find_one({"_id": name}, {"raw": 0})
        for states in ({"$in": ["dead", "replaying"]}, {"$exists": True}):
            row = row or await rows.find_one({"key": name, "state": states}, {"raw": 0}, sort=[("at", -1)])
    if row is None:
        raise FatalError("dlq.unknown", f"there is no dead letter {name!r}: `chatferry dlq list --each` names them")
    return dict(row)


async def content_of(contents: Contents, row: Mapping[str, Any]) -> Content | None:
    """The record's bytes; None when they are gone."""
    copy = row.get("copy")
    place = None if copy is None else (int(copy["partition"]), int(copy["offset"]))
    letter = Letter(row["_id"], row["entity"], row["topic"], row["key"], row["version"], place)
    return (await contents.read([letter])).get(letter.id)


def show(row: Mapping[str, Any], content: Content | None, console: Console, *, reveal: bool) -> None:
    """For people. Without `reveal`, no name, text or secret."""
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("id", Text(str(row["_id"])))
    for name in _FIELDS:
        if name != "reason" or row.get(name) != row.get("message"):
            facts.add_row(name.replace("_", " "), Text(_told(row.get(name))))
    console.print(facts)
    if content is None:
        console.print("\nits bytes are neither on `dlq` nor in the database any more", highlight=False)
        return
    console.print("\nheaders", style="dim")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("(key)", Text(kafka_key(content.key, content.value, reveal=reveal)))
    for one in content.headers:
        table.add_row(*(Text(part) for part in header(*one, reveal=reveal)))
    console.print(table)
    console.print("\nbody", style="dim")
    console.print(Text(body(content.value, reveal=reveal)), soft_wrap=True)
    if not reveal:
        console.print("\nwhat people wrote is hidden: --reveal shows it", style="dim")


def _told(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return "-" if value is None else str(value)
