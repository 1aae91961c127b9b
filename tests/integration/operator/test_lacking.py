"""What a run without a verification left undone, as the database has it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatferry.common.adapters.mongo import Database, open_client, open_database
from chatferry.common.counts import count_all
from chatferry.common.entities import FAMILIES
from chatferry.operator.lacking import Lacking, lacking
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
CHATS = FAMILIES["chats"]


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client, name = open_client(stack.mongodb), f"chatferry_lacking_{uuid.uuid4().hex[:8]}"
    yield open_database(client, name)
    await client.drop_database(name)
    client.close()


async def found(database: Database, *, delivered: bool = True) -> Lacking:
    counts = await count_all(database, CHATS, "run")
    return await lacking(database, CHATS, counts, delivered=delivered)


def root(number: int, **more: Any) -> dict[str, Any]:
    return {"_id": f"source:chat:{number}", "kind": "root", "state": "closed", "claimed": 5, "listed": 5, **more}


async def test_nothing_is_lacking_where_all_was_read_and_delivered(database: Database) -> None:
    await database.source_inventory.insert_many(
        [root(1), {"_id": "listing:chats", "state": "closed", "claimed": 1, "listed": 1}]
    )
    await database.dead_letters.insert_one({"_id": "a", "entity": "chat_messages", "state": "replayed"})
    assert await found(database) == Lacking()


async def test_the_dead_and_the_waiting_are_counted_by_entity_also_those_that_the_family_needs(
    database: Database,
) -> None:
    letters = [("a", "chat_messages", "dead"), ("b", "chat_messages", "replaying"), ("c", "users", "dead")]
    await database.dead_letters.insert_many([{"_id": a, "entity": b, "state": c} for a, b, c in letters])
    await database.chats.insert_one({"_id": "source:chat:1", "status": "NEW", "seq": 1})
    left = await found(database)
    assert left.dead == {"users": 1, "chat_messages": 2}
    assert left.waiting == {"chats": 1}
    assert (await found(database, delivered=False)).waiting == {}


async def test_a_gap_is_lacking_until_it_is_accepted_as_it_is(database: Database) -> None:
    taken = {"by": "Anna", "gap": 2, "state": "closed"}
    await database.source_inventory.insert_many(
        [
            root(1, listed=3),
            root(2, listed=3, accepted=taken),
            root(3, listed=1, accepted=taken),
            root(4, state="unreadable", reason="no webhook may read it"),
            {"_id": "stranger:source:user:9", "kind": "stranger", "state": "unresolvable"},
            {"_id": "source:chat:msg:7", "kind": "reject", "state": "failed"},
        ]
    )
    left = await found(database)
    assert [(gap["key"], gap["gap"]) for gap in left.gaps] == [
        ("stranger:source:user:9", 0),
        ("source:chat:1", 2),
        ("source:chat:3", 4),
        ("source:chat:4", 0),
    ]
    assert left.gaps_total == 4
