"""Newer content ends the dead letters of the older one, whoever wrote them, and whatever cuts the writer off."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.extractor.crashing import Killed
from tests.integration.extractor.extractor_world import World
from tests.integration.extractor.test_rejects_again import MESSAGE, Watched, read_as, states

from chatferry.common.documents import NEW
from chatferry.extractor.adapters.records import MongoRecords
from chatferry.extractor.adapters.rejects import Rejects
from chatferry.extractor.ports import PageEntry

pytestmark = pytest.mark.integration
KEY = MESSAGE.key(7)


class KilledBeforeTheyEnd(Rejects):
    """The process is gone when newer content is stored, and the letters of the older one live on."""

    async def supersede(self, keys: Sequence[str], version: int) -> None:
        raise Killed


async def died(world: World, error_class: str, *, version: int = 1, state: str = "dead") -> None:
    """The target has refused the message in this version: as an importer writes it down."""
    letter = {"entity": MESSAGE.name, "key": KEY, "version": version, "parent": 1, "line": 1, "seq": 7, "state": state}
    told = {"error_class": error_class, "code": "refused", "service": "importer", "copied": True, "by": "importer"}
    place = {"topic": "p.chat_messages", "partition": 0, "offset": version, "at": datetime.now(UTC)}
    await world.database.dead_letters.insert_one({"_id": f"p.chat_messages/0/{version}", **letter, **told, **place})
    failed = {"$set": {"status": "IMPORT_ERR", "attempts": 3, "last_error": "refused"}}
    await world.database.chat_messages.update_one({"_id": KEY, "version": version}, failed)


async def record_of(world: World) -> dict[str, Any]:
    found = await world.database.chat_messages.find_one({"_id": KEY})
    assert found is not None
    return found


def page(number: int) -> PageEntry:
    """The whole chat in one page."""
    return PageEntry(MESSAGE.name, 1, 1, 100, 0, 0, number, 0, "im.dialog.messages.get", 1)


@pytest.mark.parametrize("error_class", ["exhausted", "permanent"])
@pytest.mark.parametrize("fresh", [True, False])
async def test_a_kill_behind_the_newer_content_leaves_a_letter_that_the_next_read_ends(
    world: World, error_class: str, fresh: bool
) -> None:
    records = MongoRecords(world.database, world.clock)
    await records.save(MESSAGE, [read_as("before")], 1, fresh=True)
    await died(world, error_class)
    with pytest.raises(Killed):
        await Watched(world, KilledBeforeTheyEnd(world.database, world.clock)).save(
            MESSAGE, [read_as("edited")], 2, fresh=fresh
        )
    assert await states(world) == ["dead"]
    await records.save(MESSAGE, [read_as("edited")], 3, fresh=fresh)
    assert await states(world) == ["superseded"]
    record = await record_of(world)
    assert (record["version"], record["status"]) == (2, NEW)


@pytest.mark.parametrize("error_class", ["exhausted", "permanent"])
async def test_a_kill_behind_a_tombstone_leaves_a_letter_that_the_walks_end_ends(
    world: World, error_class: str
) -> None:
    records = MongoRecords(world.database, world.clock)
    await records.save(MESSAGE, [read_as("before")], 1, fresh=True)
    await died(world, error_class)
    await records.save_interval(MESSAGE, [], 2, page(2), to_the_end=True)
    with pytest.raises(Killed):
        await Watched(world, KilledBeforeTheyEnd(world.database, world.clock)).bury(MESSAGE, 1, 2, 3)
    assert await states(world) == ["dead"]
    await records.save_interval(MESSAGE, [], 4, page(4), to_the_end=True)
    await records.bury(MESSAGE, 1, 2, 4)
    assert await states(world) == ["superseded"]
    record = await record_of(world)
    assert (record["version"], record["payload"]["deleted"]) == (3, True)


async def test_letters_of_the_present_content_outlive_every_read(world: World) -> None:
    """Nobody but an operator ends what the target has refused."""
    records = MongoRecords(world.database, world.clock)
    await records.save(MESSAGE, [read_as("before")], 1, fresh=True)
    await died(world, "permanent")
    await records.save(MESSAGE, [read_as("before")], 2, fresh=False)
    await records.save_interval(MESSAGE, [read_as("before")], 3, page(3), to_the_end=True)
    await records.bury(MESSAGE, 1, 3, 3)
    assert await states(world) == ["dead"]


async def test_an_importers_letter_of_a_record_that_nobody_stored_outlives_every_read(world: World) -> None:
    """What others put on the topic is not the extractor's to end: nobody knows what it was."""
    records = MongoRecords(world.database, world.clock)
    await died(world, "unknown")
    await records.save_interval(MESSAGE, [], 2, page(2), to_the_end=True)
    await records.bury(MESSAGE, 1, 2, 2)
    assert await states(world) == ["dead"]


async def test_a_replay_that_is_on_its_way_ends_by_its_importer(world: World) -> None:
    """What is on the topic arrives, older than what is there by then: its row ends when it has."""
    records = MongoRecords(world.database, world.clock)
    await records.save(MESSAGE, [read_as("before")], 1, fresh=True)
    await died(world, "permanent", state="replaying")
    await records.save(MESSAGE, [read_as("edited")], 2, fresh=False)
    await records.save(MESSAGE, [read_as("edited")], 3, fresh=False)
    assert await states(world) == ["replaying"]
