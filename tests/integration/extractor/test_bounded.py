"""What a run holds at once does not grow with how much the portal has, or has lost (promise 5)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.extractor.conftest import small_portal
from tests.integration.extractor.crashing import Countdown, Killed, dying_at_pages
from tests.integration.extractor.extractor_world import World, a_world
from tests.integration.extractor.test_not_believed import changing

from chatferry.common.entities import ENTITIES, FAMILIES
from chatferry.common.entities.reading import Command
from chatferry.extractor.adapters.roots import MongoRoots
from chatferry.extractor.domain.records import Candidate
from chatferry.extractor.ports import PageEntry
from chatferry.extractor.steps.parts import Parts
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
_MANY = 20_000


def largest(world: World) -> int:
    return max(world.portal.chats.values(), key=lambda chat: len(chat.log)).id


async def known_before(world: World, count: int, webhook: int, first: int) -> None:
    """Roots that an earlier run knew, as that webhook saw them."""
    rows = [
        {
            "_id": f"source:chat:{seq}",
            "family": "chats",
            "entity": "chats",
            "kind": "root",
            "seq": seq,
            "run": "earlier",
            "epoch": 1,
            "state": "closed",
            "stored": True,
            "listed": 7,
            "absent": 0,
            "rejected": 0,
            "views": [{"webhook": webhook, "ref": f"chat{seq}"}, {"webhook": 999, "ref": f"chat{seq}"}],
        }
        for seq in range(first, first + count)
    ]
    await world.database.source_inventory.insert_many(rows)


async def test_roots_that_the_lists_lack_are_taken_over_page_by_page(world: World) -> None:
    given, gone = world.webhooks[0], 998
    await known_before(world, _MANY, given, 1)
    await known_before(world, 10, gone, _MANY + 1)
    await world.database.source_inventory.update_many({"seq": {"$lte": 5}}, {"$set": {"run": "now"}})
    roots = MongoRoots(world.database)
    tracemalloc.start()
    await roots.relist(FAMILIES["chats"], "now", 2, [given])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 1024 * 1024, "all of them at once take 315 MiB, a page 3, and two until they are collected"
    rows = await world.rows()
    assert {row["run"] for row in rows.values()} == {"now"}
    assert {rows[seq]["state"] for seq in range(1, 6)} == {"closed"}
    taken = [rows[seq] for seq in range(6, _MANY + 1)]
    assert {(row["state"], row["known"], row["listed"], row["epoch"]) for row in taken} == {("listed", True, 7, 2)}
    assert all([view["webhook"] for view in row["views"]] == [given] for row in taken)
    lost = [rows[seq] for seq in range(_MANY + 1, _MANY + 11)]
    assert {row["state"] for row in lost} == {"unreadable"}
    assert {row["reason"] for row in lost} == {"no webhook that is given now sees it"}


class Watched:
    """The inventory; keeps the largest row that was written to it."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.largest = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, run: str, epoch: int, updates: Sequence[Any]) -> None:
        self.largest = max([self.largest, *(len(str(update.fields)) for update in updates)])
        await self._inner.commit(run, epoch, updates)


async def test_the_row_of_a_chat_that_lost_all_its_messages_stays_small(stack: Addresses, topics: str) -> None:
    async with a_world(stack, small_portal(chats=1, messages=700), topics_of=topics) as world:
        await world.get()
        chat = largest(world)
        lost = list(world.truth(chat))[:-3]
        assert len(lost) > 500
        for number in lost:
            world.running.changes.erase(chat, number)
        watched: list[Watched] = []

        def hook(parts: Parts) -> Parts:
            watched.append(Watched(parts.inventory))
            return replace(parts, inventory=watched[0])

        await world.get(hook=hook)
        assert watched[0].largest < 1_000
        stored = await world.stored("chat_messages")
        assert all(stored[number]["payload"]["deleted"] for number in lost)
        await world.assert_equal_to_the_portal()
        await world.assert_balanced()


async def test_what_a_walk_misses_and_the_walk_after_it_finds_is_not_deleted(world: World) -> None:
    """The first walk of the run sees no history, so it is walked again."""
    await world.get()
    before = await world.stored("chat_messages")
    chat = largest(world)
    ref, asked = f"chat{chat}", [0]

    def no_history_at_first(command: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        if command.params.get("DIALOG_ID") != ref or "LAST_ID" not in command.params or asked[0] >= 2:
            return result
        asked[0] += 1
        return {**result, "messages": []}

    world.running.changes.erase(chat, list(world.truth(chat))[4])
    run = await world.get(hook=changing(no_history_at_first))
    assert (await world.rows())[chat]["walks"] == 1
    assert run["published"] == 1
    after = await world.stored("chat_messages")
    assert [number for number in after if after[number]["version"] != before[number]["version"]] == [
        number for number in after if number not in world.truth(chat) and after[number]["parent"] == chat
    ]
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()


@pytest.mark.parametrize("at", [5, 15])
async def test_what_a_killed_process_missed_is_deleted_by_the_one_that_goes_on(
    stack: Addresses, topics: str, at: int
) -> None:
    async with a_world(stack, small_portal(chats=1, messages=300), topics_of=topics) as world:
        world.sizes = replace(world.sizes, batch_commands=6, page_size=10)
        await world.get()
        chat = largest(world)
        for number in list(world.truth(chat))[::3]:
            world.running.changes.erase(chat, number)
        run, countdown = await world.ask(), Countdown(at, before=False)
        with pytest.raises(Killed):
            await world.drive(run, lambda parts: dying_at_pages(parts, countdown))
        found = (await world.rows())[chat]["found"]
        assert found["gone"] > 0
        await world.drive(run)
        await world.assert_equal_to_the_portal()
        await world.assert_balanced()


async def test_a_message_that_the_page_lacked_and_showed_when_it_was_read_again_is_not_buried(world: World) -> None:
    await world.get()
    chat, records, began = largest(world), world.parts().records, 2**52
    living = {"parent": chat, "payload.deleted": False}
    first, second = await world.database.chat_messages.find(living).sort("seq", 1).limit(2).to_list(None)
    seen = Candidate(second["_id"], second["seq"], chat, second["payload"], second["payload_hash"])
    page = PageEntry("chat_messages", chat, first["seq"], second["seq"] + 1, 1, 0, began, 1, "get", 1)
    messages = ENTITIES["chat_messages"]
    await records.save_interval(messages, [], began, page, to_the_end=False)
    await records.save_interval(messages, [seen], began + 1, page, to_the_end=False)

    await records.bury(messages, chat, began, began + 2)

    buried = await world.database.chat_messages.find({"parent": chat, "version": began + 2}).to_list(None)
    assert [doc["_id"] for doc in buried] == [first["_id"]]


async def test_large_messages_that_were_deleted_are_buried_a_few_at_a_time(world: World) -> None:
    await world.get()
    chat, records, began, mebibyte = largest(world), world.parts().records, 2**52, 1024 * 1024
    source = await world.database.chat_messages.find_one({"parent": chat, "payload.deleted": False})
    assert source is not None
    for number in range(60):
        payload = {**source["payload"], "id": 10**9 + number, "text": chr(97 + number % 26) * mebibyte}
        large = {**source, "_id": f"source:chat:msg:{10**9 + number}", "seq": 10**9 + number, "payload": payload}
        await world.database.chat_messages.insert_one({**large, "missed": began})
    tracemalloc.start()
    await records.bury(ENTITIES["chat_messages"], chat, began, began + 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    buried = {"parent": chat, "seq": {"$gte": 10**9}, "payload.deleted": True, "payload.text": "", "due": True}
    assert await world.database.chat_messages.count_documents(buried) == 60
    assert peak < 40 * mebibyte
