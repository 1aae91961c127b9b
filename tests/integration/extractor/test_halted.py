"""A set does not wait for a family of which too many records died: the run ends, and says why."""

from __future__ import annotations

import pytest
from tests.integration.extractor.extractor_world import World

from chatferry.common.entities import FAMILIES
from chatferry.extractor.adapters.progress import MongoProgress

pytestmark = pytest.mark.integration


async def test_more_keys_wait_than_fit_one_document_of_mongodb(world: World) -> None:
    long = "x" * 900
    rows = [
        {"_id": f"t/0/{n}", "entity": "chat_messages", "key": f"{n // 2}{long}", "topic": "t", "partition": 0}
        for n in range(40_000)
    ]
    await world.database.parked.insert_many(rows, ordered=False)
    assert (await MongoProgress(world.database).waiting(FAMILIES["chats"])).parked == 20_000


@pytest.mark.parametrize("family", ["chats", "users"])
async def test_a_halted_family_or_one_that_it_needs_is_what_blocks_the_set(world: World, family: str) -> None:
    progress = MongoProgress(world.database)
    assert await progress.settled(FAMILIES["chats"])
    await world.database.entities.update_one({"_id": family}, {"$set": {"halted": "too many died"}}, upsert=True)
    assert not await progress.settled(FAMILIES["chats"])
    assert (await progress.waiting(FAMILIES["chats"])).blocked == "too many died"
    await world.database.entities.update_one({"_id": family}, {"$set": {"blocked": "refused"}})
    assert (await progress.waiting(FAMILIES["chats"])).blocked == "refused"
