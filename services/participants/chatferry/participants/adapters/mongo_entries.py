"""A chat's document, and what updates of it are made of.

`_id`: the chat. `listed`: its record or MAX named it. `version`, `title`, `created`, `static_count`: of the portal's
record. `max_chat`, `max_title`, `trusted`, `count` {count, mark, epoch, started, rank, moves, told}: of MAX;
`max_title_at` and `trusted_at` say when that was so. `ended`: an entry of MAX's that a portal's chat has taken over;
`former`: MAX's own entry of the chat that this one was before. `seq`: the number of the count's last change;
`unannounced`: since when nobody was told of it.
"""

from __future__ import annotations

from typing import Any

from chatferry.common.adapters.mongo import ASCENDING, Database, Document, mongo_outage
from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import RANKS, ChatId, Count, Mark, MaxChatId, Stamp

CHATS = "chats"
_BEFORE_ALL = -1


async def prepare(database: Database) -> None:
    """Create the indexes that are missing. Safe to repeat. Raises OutageError."""
    with mongo_outage():
        await database[CHATS].create_index([("max_chat", ASCENDING)], unique=True, sparse=True)
        await database[CHATS].create_index([("unannounced", ASCENDING)], sparse=True)


async def reachable(database: Database) -> None:
    """One round to the primary. Raises OutageError."""
    with mongo_outage():
        await database.command("ping")


def entry_of(row: Document) -> Entry:
    """As the domain sees it."""
    ended = row.get("ended") is True
    title = row.get("title")
    return Entry(
        id=ChatId(row["_id"]),
        title=None if ended else row.get("max_title") if title is None else title,
        created_ms=row.get("created"),
        activity_ms=row.get("activity"),
        static_count=row.get("static_count") or 0,
        max_chat=MaxChatId(row["max_chat"]) if "max_chat" in row else None,
        trusted=row.get("trusted"),
        counted=count_of(row.get("count")),
    )


def count_of(kept: Document | None) -> Count | None:
    """The other way than `kept_count`."""
    if kept is None:
        return None
    stamp = Stamp(kept["epoch"], kept["started"])
    return Count(kept["count"], Mark(kept["mark"]), stamp, kept.get("told"), kept.get("moves", 0))


def kept_count(count: Count) -> Document:
    """As it stands in a document."""
    kept = {
        "count": count.count,
        "mark": count.mark.value,
        "epoch": count.stamp.epoch,
        "started": count.stamp.started_ms,
        "rank": RANKS[count.mark],
        "moves": count.moves,
    }
    return kept if count.told_ms is None else {**kept, "told": count.told_ms}


def if_newer(field: str, wanted: Any, moment_field: str, moment: int | None) -> Document:
    """Set a field to what was so at a moment, unless it is known from a later one; None: it is so now."""
    if moment is None:
        return {field: {"$literal": wanted}}
    known = {"$ifNull": [f"${moment_field}", _BEFORE_ALL]}
    return {
        field: {"$cond": [{"$gte": [moment, known]}, {"$literal": wanted}, f"${field}"]},
        moment_field: {"$max": [moment, f"${moment_field}"]},
    }


def count_stages(count: Count) -> list[Document]:
    """Set the count unless a later read's is there, and have it announced when it is another."""
    kept = kept_count(count)
    order = ("epoch", "started", "rank", "moves")
    known = [{"$ifNull": [f"$count.{name}", _BEFORE_ALL]} for name in order]
    newer = {"$gte": [[kept[name] for name in order], known]}
    same = {"$and": [{"$eq": ["$count.count", kept["count"]]}, {"$eq": ["$count.mark", kept["mark"]]}]}
    return [
        {"$set": {"newer": newer, "same": same}},
        {"$set": {"count": {"$cond": ["$newer", {"$literal": kept}, "$count"]}}},
        {"$set": changed_fields({"$and": ["$newer", {"$not": ["$same"]}]})},
        {"$unset": ["newer", "same"]},
    ]


def changed_fields(differs: Any) -> Document:
    """Where it differs, a change has the next number, and waits to be announced. The number is the server's clock at
    least: it grows on when the catalogue has been lost, and readers of the topic see that it does."""
    now_ms = {"$toLong": "$$NOW"}
    following = {"$max": [{"$add": [{"$ifNull": ["$seq", 0]}, 1]}, now_ms]}
    return {
        "seq": {"$cond": [differs, following, "$seq"]},
        "unannounced": {"$cond": [differs, {"$ifNull": ["$unannounced", now_ms]}, "$unannounced"]},
    }
