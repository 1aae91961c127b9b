"""An acceptance in the inventory of a real MongoDB."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from chatferry.common.adapters.mongo import Database, open_client, open_database
from chatferry.common.errors import FatalError
from chatferry.operator.accept import Word, accept
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
KEY = "source:chat:7"
WORD = Word(" Olga ", datetime(2026, 1, 1, tzinfo=UTC), "history hidden")


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client, name = open_client(stack.mongodb), f"accept_{secrets.token_hex(4)}"
    try:
        yield open_database(client, name)
    finally:
        await client.drop_database(name)
        client.close()


async def test_who_accepted_which_gap_is_noted_in_the_row(database: Database) -> None:
    row = {"_id": KEY, "state": "closed", "claimed": 10, "listed": 7, "rejected": 1, "gap": None, "run": "r"}
    await database["source_inventory"].insert_one(row)
    await accept(database, KEY, WORD)
    (stored,) = await database["source_inventory"].find().to_list(2)
    assert stored == {
        **row,
        "accepted": {"by": "Olga", "at": WORD.at, "reason": "history hidden", "gap": 2, "state": "closed"},
    }


async def test_nothing_is_noted_for_a_key_that_nobody_knows_or_without_a_name(database: Database) -> None:
    await database["source_inventory"].insert_one({"_id": KEY, "state": "unreadable"})
    with pytest.raises(FatalError, match="has no 'source:chat:8'"):
        await accept(database, "source:chat:8", WORD)
    with pytest.raises(FatalError, match="--by NAME"):
        await accept(database, KEY, Word("  ", WORD.at, None))
    assert [one async for one in database["source_inventory"].find()] == [{"_id": KEY, "state": "unreadable"}]
