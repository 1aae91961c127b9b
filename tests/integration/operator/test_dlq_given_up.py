"""A replay of what an operator has given up: it is said, and never called arrived."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.importer.world import a_world, chat, message
from tests.integration.operator.dlq_world import Desk, desk_of, msg

from chatferry.common.documents import PARENT_DISCARDED
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
WORD = ("--with-children", "--reason", "not ours to keep", "--by", "Olga")
SAID = "1 had been given up, or went with a chat that was: skipped, and not at the target"


@pytest.fixture
async def desk(stack: Addresses, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_world(stack, f"dlq-{uuid.uuid4().hex[:8]}") as world:
        await world.open()
        yield desk_of(world, tmp_path)


async def test_a_replay_that_its_discarded_chat_takes_with_it_has_not_arrived(desk: Desk) -> None:
    """Its first copy was cut; the chat is given up before the replay comes."""
    world = desk.world
    desk.refuse("source:chat:5")
    await world.publish("chats", [chat(5)])
    await world.store("chat_messages", [message(5000, 5)])
    whole = world.outgoing("chat_messages", message(5000, 5))
    await world.producer.send([replace(whole, value=b"{cut")])
    async with world.importer():
        await desk.until_copied(2)
        assert (await desk.dlq("discard", "--id", "source:chat:5", *WORD)).code == 0
        # As if the importer could read by now what it could not: the bytes are whole.
        [row] = await world.database.dead_letters.find({"error_class": "undecodable"}).to_list(None)
        kept = {"key": whole.key, "value": whole.value, "headers": [list(one) for one in whole.headers]}
        await world.database.dead_letters.update_one({"_id": row["_id"]}, {"$set": {"raw": kept}})
        said = await desk.dlq("replay", "--all")
    assert (said.code, said.err) == (1, "")
    assert SAID in said.out
    assert "arrived" not in said.out
    assert await desk.states() == {"discarded": 2}
    record = await world.database.chat_messages.find_one({"_id": msg(5000)})
    assert record is not None
    assert (record["status"], record["skip_reason"]) == ("SKIPPED", PARENT_DISCARDED)


async def test_a_discard_that_was_killed_behind_its_records_is_finished_by_a_replay(desk: Desk) -> None:
    """What is skipped was given up, and all that waited for it may have been set aside: it is not sent after all."""
    world = desk.world
    desk.refuse("source:chat:5")
    await desk.chat_with_messages(5, 2)
    async with world.importer():
        await desk.until_copied(1)
        await world.until_statuses("chat_messages", {"NEW": 2})
        skipped = {"$set": {"status": "SKIPPED", "skip_reason": "discarded: not ours to keep"}}
        await world.database.chats.update_one({"_id": "source:chat:5"}, skipped)
        await world.until_statuses("chat_messages", {"SKIPPED": 2})
        world.target.refuse_items.clear()
        said = await desk.dlq("replay", "--all")
        assert (said.code, SAID in said.out) == (1, True), said
        assert await desk.states() == {"discarded": 1}
        assert await world.statuses("chats") == {"SKIPPED": 1}
        assert world.target.stored == {}
        assert (await desk.dlq("replay", "--all")).out.strip() == "there is nothing to replay"
