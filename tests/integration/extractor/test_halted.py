"""A set does not wait for a family of which too many records died: the run ends, and says why."""

from __future__ import annotations

import pytest
from tests.integration.extractor.extractor_world import World

from chatferry.common.entities import FAMILIES
from chatferry.extractor.adapters.progress import MongoProgress

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("family", ["chats", "users"])
async def test_a_halted_family_or_one_that_it_needs_is_what_blocks_the_set(world: World, family: str) -> None:
    progress = MongoProgress(world.database)
    assert await progress.settled(FAMILIES["chats"])
    await world.database.entities.update_one({"_id": family}, {"$set": {"halted": "too many died"}}, upsert=True)
    assert not await progress.settled(FAMILIES["chats"])
    assert (await progress.waiting(FAMILIES["chats"])).blocked == "too many died"
    await world.database.entities.update_one({"_id": family}, {"$set": {"blocked": "refused"}})
    assert (await progress.waiting(FAMILIES["chats"])).blocked == "refused"
