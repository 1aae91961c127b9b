"""Two `chatferry dlq replay` at once, and one after another that was killed."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.importer.world import a_world
from tests.integration.operator.dlq_world import Desk, desk_of, msg

from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


@pytest.fixture
async def desk(stack: Addresses, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_world(stack, f"dlq-{uuid.uuid4().hex[:8]}") as world:
        await world.open()
        yield desk_of(world, tmp_path)


async def test_a_second_replay_ends_at_once_and_sends_nothing_while_the_first_one_lives(desk: Desk) -> None:
    world = desk.world
    desk.refuse(msg(5000), msg(5001))
    await desk.chat_with_messages(5, 3)
    async with world.importer():
        await desk.until_copied(2)
    world.target.refuse_items.clear()
    before = len(await world.read("chat_messages"))
    # Nobody delivers, so the first one waits for the end of what it has sent.
    async with desk.running("replay", "--all") as first:

        async def sent() -> bool:
            return bool(await world.database.dead_letters.count_documents({"sent_at": {"$exists": True}}) == 2)

        await world.until(sent, "the first replay has sent", 30)
        [name] = await world.database.dead_letters.distinct("replay", {"replay": {"$ne": None}})
        said = await desk.dlq("replay", "--all")
        assert (said.code, said.out) == (2, "")
        assert f"another replay is under way ({name})" in said.err
        assert await world.database.dead_letters.distinct("replay", {"replay": {"$ne": None}}) == [name]
        assert len(await world.read("chat_messages")) == before + 2
        async with world.importer():
            out, err = await first.communicate()
    assert err == b"", out
    assert b"2 arrived at the target" in out
    assert await world.database.leases.count_documents({"_id": "dlq:replay"}) == 0


async def test_a_killed_replay_keeps_the_next_one_waiting_for_seconds_only(desk: Desk) -> None:
    world = desk.world
    desk.refuse(msg(5000))
    await desk.chat_with_messages(5, 2)
    async with world.importer():
        await desk.until_copied(1)
    world.target.refuse_items.clear()
    async with desk.running("replay", "--all") as first:

        async def taken() -> bool:
            return bool(await world.database.dead_letters.count_documents({"state": "replaying"}))

        await world.until(taken, "the first replay is under way", 30)
        first.kill()
        await first.wait()
    assert await world.database.leases.count_documents({"_id": "dlq:replay"}) == 1
    async with world.importer():
        assert (await desk.dlq("replay", "--all")).code == 0
    assert max(world.target.applied.values()) == 1
    assert await desk.states() == {"replayed": 1}
