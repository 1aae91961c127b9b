"""The ledger of records on a real MongoDB: it holds at any time, and what does not balance is seen chat by chat."""

from __future__ import annotations

import asyncio
import json
from io import StringIO
from typing import Any

import pytest

from chatferry.common.adapters.mongo import Database
from chatferry.common.entities import ENTITIES, FAMILIES
from chatferry.common.ledger import Account, account, accounts_per_parent, each_parent
from chatferry.operator.every_chat import write_whole

pytestmark = pytest.mark.integration
CHATS, MESSAGES, USERS = ENTITIES["chats"], ENTITIES["chat_messages"], ENTITIES["users"]


def row(chat: int, listed: int, **changes: Any) -> dict[str, Any]:
    """A closed walk of the inventory."""
    made = {"_id": CHATS.key(chat), "family": "chats", "entity": "chats", "kind": "root", "seq": chat, "stored": True}
    return {**made, "state": "closed", "listed": listed, "absent": 0, "rejected": 0, "walk": {}, **changes}


async def fill(database: Database, chat: int, *statuses: str) -> None:
    """Messages of a chat, one a status; `SKIPPED` ones were discarded."""
    documents = [
        {"_id": MESSAGES.key(chat * 1000 + n), "parent": chat, "seq": chat * 1000 + n, "status": status, "version": 1}
        for n, status in enumerate(statuses)
    ]
    for document in documents:
        if document["status"] == "SKIPPED":
            document["skip_reason"] = "discarded"
    await database[MESSAGES.name].insert_many(documents)


async def messages(database: Database, chat: int | None = None) -> Account:
    return await account(database, MESSAGES, FAMILIES["chats"], chat)


async def test_of_a_walk_under_way_what_is_stored_is_read_and_waits(database: Database) -> None:
    """Records are stored before the walk's position: between the two the ledger holds all the same."""
    rows = [row(1, 2), row(2, 1, state="walking"), row(3, 0, state="listed")]
    await database["source_inventory"].insert_many(rows)
    await fill(database, 1, "IMPORT_OK", "IMPORT_OK")
    await fill(database, 2, "IMPORT_OK", "NEW", "ERROR_RETRY")
    whole = await messages(database)
    assert (whole.read, whole.done, whole.waiting, whole.balanced) == (5, 3, 2, True)
    assert (await messages(database, 2)).balanced
    assert (await messages(database, 3)).read == 0


async def test_below_the_end_of_a_limited_walk_nothing_is_missing(database: Database) -> None:
    await database["source_inventory"].insert_one(row(1, 1, walk={"limited": True}))
    await fill(database, 1, "IMPORT_OK", "IMPORT_OK", "IMPORT_OK")
    assert (await messages(database)).balanced


async def test_a_record_of_a_closed_walk_that_is_not_stored_unbalances_it(database: Database) -> None:
    await database["source_inventory"].insert_one(row(1, 3))
    await fill(database, 1, "IMPORT_OK", "IMPORT_OK")
    whole = await messages(database)
    assert (whole.read, whole.done, whole.balanced) == (3, 2, False)


async def test_a_chat_that_is_stored_before_its_row_says_so_is_read(database: Database) -> None:
    await database["source_inventory"].insert_many([row(1, 0), row(2, 0, stored=False, state="walking")])
    for chat in (1, 2):
        document = {"_id": CHATS.key(chat), "parent": None, "seq": chat, "status": "NEW", "version": 1}
        await database[CHATS.name].insert_one(document)
    whole = await account(database, CHATS, FAMILIES["chats"])
    assert (whole.read, whole.waiting) == (2, 2)


async def test_a_list_of_users_under_way_has_read_what_is_stored(database: Database) -> None:
    listing = {"_id": "listing:users", "kind": "listing", "family": "users", "entity": "users", "whole": True}
    met = {"_id": "stranger:source:user:9", "kind": "stranger", "of": "users", "seq": 9, "state": "wanted"}
    counts = {"listed": 1, "absent": 0, "rejected": 0}
    await database["source_inventory"].insert_many([{**listing, "state": "walking", **counts}, met])
    for user in (1, 2, 9):
        document = {"_id": USERS.key(user), "parent": None, "seq": user, "status": "IMPORT_OK", "version": 1}
        await database[USERS.name].insert_one(document)
    assert (await account(database, USERS, FAMILIES["users"])).read == 3
    closed = {"$set": {"state": "closed", "listed": 2}}
    await database["source_inventory"].update_one({"_id": listing["_id"]}, closed)
    assert (await account(database, USERS, FAMILIES["users"])).read == 3
    await database["source_inventory"].update_one({"_id": met["_id"]}, {"$set": {"state": "resolved"}})
    assert (await account(database, USERS, FAMILIES["users"])).read == 3


async def test_chats_that_are_not_done_come_one_by_one_and_the_others_as_a_number(database: Database) -> None:
    rows = [row(1, 2), row(2, 3), row(3, 2), row(4, 2), row(5, 0)]
    await database["source_inventory"].insert_many(rows)
    await fill(database, 1, "IMPORT_OK", "IMPORT_OK")
    await fill(database, 2, "IMPORT_OK", "SKIPPED", "SKIPPED")
    await fill(database, 3, "NEW", "IMPORT_ERR")
    await fill(database, 4, "IMPORT_OK")
    await fill(database, 6, "IMPORT_OK")
    found = await accounts_per_parent(database, MESSAGES)
    assert (found.settled, found.unsettled) == (2, 4)
    assert [key for key, _ in found.rows] == [CHATS.key(chat) for chat in (3, 2, 4, 6)]
    accounts = {key: one.as_json() for key, one in found.rows}
    assert accounts[CHATS.key(2)] == {"read": 3, "done": 1, "skipped": {"discarded": 2}, "dead": 0, "waiting": 0}
    assert accounts[CHATS.key(3)] == {"read": 2, "done": 0, "skipped": {}, "dead": 1, "waiting": 1}
    assert accounts[CHATS.key(4)]["read"] == 2, "a record that was never stored is seen in its chat"
    assert accounts[CHATS.key(6)]["read"] == 0, "records of a chat that nobody listed are seen"
    assert len((await accounts_per_parent(database, MESSAGES, most=1)).rows) == 1


async def test_every_chat_comes_in_order_with_its_account_done_ones_too(database: Database) -> None:
    await database["source_inventory"].insert_many([row(11, 1), row(2, 2), row(5, 0)])
    await fill(database, 11, "IMPORT_OK")
    await fill(database, 2, "IMPORT_ERR", "SKIPPED")
    found = [one async for one in each_parent(database, MESSAGES)]
    assert [(one.key, one.settled) for one in found] == [
        (CHATS.key(2), False),
        (CHATS.key(5), True),
        (CHATS.key(11), True),
    ]
    assert found[0].account.as_json() == {"read": 2, "done": 0, "skipped": {"discarded": 1}, "dead": 1, "waiting": 0}
    out = StringIO()
    await write_whole({"project": "demo", "ledger_per_parent": {}}, database, out)
    rows = [{"key": one.key, **one.account.as_json()} for one in found]
    assert json.loads(out.getvalue()) == {
        "project": "demo",
        "ledger_per_parent": {"chat_messages": {"rows": rows, "settled": 2, "unsettled": 1}},
    }


async def test_both_sides_are_of_one_moment_while_records_move(database: Database) -> None:
    """A walk closes and its records come and go together, again and again; no look sees the half of it."""
    await fill(database, 1, "NEW")
    await database["source_inventory"].insert_one(row(1, 1))
    stop = asyncio.Event()

    async def grow() -> None:
        for number in range(2, 100_000):
            if stop.is_set():
                return
            async with await database.client.start_session() as session, session.start_transaction():
                document = {"_id": MESSAGES.key(number), "parent": 1, "seq": number, "status": "NEW", "version": 1}
                await database[MESSAGES.name].insert_one(document, session=session)
                await database["source_inventory"].update_one({"seq": 1}, {"$inc": {"listed": 1}}, session=session)

    growing = asyncio.create_task(grow())
    try:
        accounts = [await messages(database) for _ in range(60)]
    finally:
        stop.set()
        await growing
    assert accounts[-1].read > accounts[0].read
    assert [one for one in accounts if not one.balanced] == []
