"""A target that is away, or says so, burns no record."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from tests.integration.importer.world import Answer, World, chat, message

from chatferry.common.documents import ENTITY_STATES

pytestmark = pytest.mark.integration


async def _publish(world: World, chats: int, each: int) -> int:
    await world.publish("chats", [chat(n) for n in range(1, chats + 1)])
    for n in range(1, chats + 1):
        await world.publish("chat_messages", [message(n * 1000 + i, n) for i in range(each)])
    return chats * each


async def _unharmed(world: World, total: int) -> None:
    await world.until_statuses("chat_messages", {"IMPORT_OK": total}, seconds=40)
    assert await world.database.dead_letters.count_documents({}) == 0
    assert await world.database.chat_messages.count_documents({"attempts": {"$gt": 0}}) == 0
    assert all(ids == sorted(ids) for ids in world.target.order.values())
    assert set(world.target.applied.values()) == {1}


async def test_a_refused_connection_pauses_and_work_goes_on_where_it_stopped(world: World) -> None:
    await world.open()
    await world.target.down()
    total = await _publish(world, 5, 40)
    async with world.importer() as context:

        async def away() -> bool:
            return "target" in context.health.outages

        await world.until(away, "the outage being seen")
        assert "target" in context.health.ready()
        assert context.health.alive() == {}
        assert sum((await world.committed()).values()) <= 0
        await world.target.up()
        await _unharmed(world, total)
        assert context.health.outages == {}


@pytest.mark.parametrize("kind", ["unavailable", "throttled", "hangs", "every_item", "most_items"])
async def test_an_outage_that_answers_counts_no_attempt(world: World, kind: str) -> None:
    ill = True

    async def behave(_entity: str, items: list[dict[str, Any]]) -> Answer | None:
        if not ill:
            return None
        if kind == "unavailable":
            return 503, b"{}", {"retry-after": "1"}
        if kind == "throttled":
            return 429, b"{}", {"retry-after": "1"}
        if kind == "hangs":
            await asyncio.sleep(5)
            return 503, b"{}", {}
        bad = len(items) if kind == "every_item" else -(-len(items) * 3 // 4)
        results = [
            {"key": item["key"], "status": "error", "code": "DOWN", "retryable": True} for item in items[:bad]
        ] + [world.target._apply("chat_messages", item) for item in items[bad:]]
        return 200, orjson.dumps({"results": results}), {}

    await world.open()
    await world.publish("chats", [chat(1)])
    async with world.importer(target_answer_seconds=0.3) as context:
        await world.until_statuses("chats", {"IMPORT_OK": 1})
        world.target.behave = behave
        world.target.probe_fails = kind in ("unavailable", "hangs")
        await world.publish("chat_messages", [message(1000 + i, 1) for i in range(200)])

        async def away() -> bool:
            return "target" in context.health.outages

        await world.until(away, "the outage being seen")
        await asyncio.sleep(1.5)
        ill = world.target.probe_fails = False
        await world.until_statuses("chat_messages", {"IMPORT_OK": 200}, seconds=40)
    assert await world.database.dead_letters.count_documents({}) == 0
    assert await world.database.chat_messages.count_documents({"attempts": {"$gt": 0}}) == 0


async def test_a_wrong_secret_blocks_the_family_with_a_sentence_until_the_target_lets_in(world: World) -> None:
    closed = True

    async def behave(_entity: str, _items: list[dict[str, Any]]) -> Answer | None:
        return (403, b"{}", {}) if closed else None

    world.target.behave = behave
    await world.open()
    total = await _publish(world, 2, 10)
    async with world.importer():

        async def blocked() -> bool:
            state = await world.database[ENTITY_STATES].find_one({"_id": "chats"})
            return state is not None and "grant the right" in state.get("blocked", "")

        await world.until(blocked, "the family being blocked")
        closed = False
        await _unharmed(world, total)
    state = await world.database[ENTITY_STATES].find_one({"_id": "chats"})
    assert state is not None
    assert "blocked" not in state


async def test_topics_of_a_closed_family_are_held_and_go_when_it_opens(world: World) -> None:
    await world.open("users")
    total = await _publish(world, 3, 10)
    async with world.importer():
        await asyncio.sleep(2)
        assert world.target.calls == []
        assert await world.statuses("chat_messages") == {"NEW": total}
        await world.open("chats")
        await world.until_statuses("chat_messages", {"IMPORT_OK": total})
        await world.open("chats", is_open=False)
        await asyncio.sleep(1.2)
        before = len(world.target.calls)
        await world.publish("chat_messages", [message(1900, 1)])
        await asyncio.sleep(1.5)
        assert len(world.target.calls) == before
    async with world.importer():
        await world.open("chats")
        await _unharmed(world, total + 1)
