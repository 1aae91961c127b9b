"""What arrives at the target, and what is written down of it."""

from __future__ import annotations

import orjson
import pytest
from tests.integration.importer.world import World, chat, message, user

pytestmark = pytest.mark.integration


async def test_users_chats_and_messages_arrive_once_and_in_order(world: World) -> None:
    await world.open()
    await world.publish("users", [user(n) for n in range(1, 31)])
    await world.publish("chats", [chat(n) for n in range(100, 140)])
    for n in range(100, 140):
        await world.publish("chat_messages", [message(n * 1000 + i, n) for i in range(30)])
    async with world.importer():
        await world.until_statuses("chat_messages", {"IMPORT_OK": 1200})
        await world.until_nothing_is_parked()
    assert await world.statuses("users") == {"IMPORT_OK": 30}
    assert await world.statuses("chats") == {"IMPORT_OK": 40}
    assert len(world.target.stored) == 1270
    assert set(world.target.applied.values()) == {1}
    assert all(ids == sorted(ids) for ids in world.target.order.values())
    document = await world.database.chat_messages.find_one({"_id": "source:chat:msg:100000"})
    assert document is not None
    assert document["imported_version"] == 10
    assert document["imported_hash"] == document["payload_hash"]
    assert document["target_id"] == world.target.stored["source:chat:msg:100000"]["id"]
    known = await world.database.id_map.find_one({"_id": "source:user:3"})
    assert known is not None
    assert known["target_id"] == world.target.stored["source:user:3"]["id"]
    results = await world.read("results")
    assert len({dict(r.headers)["ce_id"] for r in results}) == 1270
    assert {orjson.loads(r.value)["status"] for r in results} == {"created"}
