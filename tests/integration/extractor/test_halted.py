"""A set does not wait for a family of which too many records died: the run ends, and says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


class Watched:
    """A database that remembers how long the lists in its questions were."""

    def __init__(self, database: Any) -> None:
        self._database, self.lengths = database, list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def __getitem__(self, name: str) -> Any:
        return _Asked(self._database[name], self.lengths)


class _Asked:
    def __init__(self, collection: Any, lengths: list[int]) -> None:
        self._collection, self._lengths = collection, lengths

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    async def count_documents(self, query: Mapping[str, Any]) -> int:
        listed = query.get("parent", {}).get("$in", ())
        self._lengths.append(len(listed))
        return int(await self._collection.count_documents(query))


async def test_what_only_a_person_moves_is_counted_once_however_many_parents_hold_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of all their ids would outgrow the 16 MiB that a question to MongoDB may have."""
    monkeypatch.setattr("chatferry.extractor.adapters.progress._PARENTS_AT_ONCE", 7)
    dead, failed, behind = range(1, 60, 3), range(1, 60, 4), range(2, 60, 5)
    chats = [{"_id": f"source:chat:{n}", "seq": n, "parent": None, "status": "IMPORT_ERR"} for n in dead]
    rows = [{"_id": f"source:chat:{n}", "seq": n, "kind": "root", "entity": "chats", "state": "failed"} for n in failed]
    letter = {"entity": "chat_messages", "state": "dead", "error_class": "exhausted", "service": "importer"}
    letters = [{"_id": f"t/{n}/{m}", "line": n, **letter} for n in behind for m in range(9)]
    messages = [
        {"_id": f"m{n}/{m}", "seq": m, "parent": n, "status": "NEW" if m else "IMPORT_OK"}
        for n in range(1, 60)
        for m in range(3)
    ]
    await world.database.chats.insert_many(chats)
    await world.database.source_inventory.insert_many(rows)
    await world.database.dead_letters.insert_many(letters)
    await world.database.chat_messages.insert_many(messages)
    watched = Watched(world.database)
    left = await MongoProgress(watched).waiting(FAMILIES["chats"])  # type: ignore[arg-type]
    assert left.waiting == 2 * 59
    assert left.stuck == 2 * len({*dead, *failed, *behind})
    assert 0 < max(watched.lengths) <= 7
