"""`chatferry dlq replay` and `discard` at once, and one after another that was killed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.importer.world import a_world
from tests.integration.operator.dlq_world import Desk, Said, desk_of, msg

from chatferry.common.clock import SystemClock
from chatferry.common.errors import FatalError
from chatferry.operator.dlq.lease import LetterLease
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
WORD = ("--with-children", "--reason", "not ours to keep", "--by", "Olga")


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


async def test_a_discard_ends_at_once_and_skips_nothing_while_a_replay_lives(desk: Desk) -> None:
    """What both took up would be skipped with all that waits for it, and arrive after all."""
    world = desk.world
    desk.refuse("source:chat:5")
    await desk.chat_with_messages(5, 3)
    async with world.importer():
        await desk.until_copied(1)
        await world.until_statuses("chat_messages", {"NEW": 3})
    world.target.refuse_items.clear()
    # Nobody delivers, so the replay waits for the end of what it has sent.
    async with desk.running("replay", "--all") as first:

        async def taken() -> bool:
            return bool(await world.database.dead_letters.count_documents({"state": "replaying"}))

        await world.until(taken, "the replay is under way", 30)
        [name] = await world.database.dead_letters.distinct("replay", {"replay": {"$ne": None}})
        said = await desk.dlq("discard", "--chat", "5", *WORD)
        assert (said.code, said.out) == (2, "")
        assert f"a replay is under way ({name}): wait for its end, then ask again" in said.err
        assert len(said.err.splitlines()) == 1
        async with world.importer():
            out, err = await first.communicate()
            await world.until_statuses("chat_messages", {"IMPORT_OK": 3})
    assert (err, b"1 arrived at the target" in out) == (b"", True)
    assert await desk.states() == {"replayed": 1}


@pytest.mark.parametrize("words", [("replay", "--all"), ("discard", "--all", *WORD)])
async def test_nothing_is_moved_while_a_discard_lives(desk: Desk, words: tuple[str, ...]) -> None:
    world = desk.world
    desk.refuse(msg(5000))
    await desk.chat_with_messages(5, 2)
    async with world.importer():
        await desk.until_copied(1)

    async def meanwhile() -> Said:
        return await desk.dlq(*words)

    said = await LetterLease(world.database, "discard", "discard-20240101-ab", SystemClock()).alone(meanwhile)
    assert (said.code, said.out) == (2, "")
    which = "another discard" if words[0] == "discard" else "a discard"
    assert f"{which} is under way (discard-20240101-ab)" in said.err
    assert await desk.states() == {"dead": 1}
    assert (await desk.dlq("discard", "--all", *WORD)).code == 0
    assert await desk.states() == {"discarded": 1}


async def test_a_discard_that_another_command_has_overtaken_ends_with_a_sentence(desk: Desk) -> None:
    """As one that was held up for longer than its lease lasts."""
    database = desk.world.database

    async def overtaken() -> None:
        await database.leases.update_one({"_id": "dlq:replay"}, {"$set": {"owner": "replay-1"}})
        await asyncio.sleep(20)

    with pytest.raises(FatalError, match="has taken its turn"):
        await LetterLease(database, "discard", "discard-1", SystemClock()).alone(overtaken)
