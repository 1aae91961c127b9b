"""Kills, rebalances and zombies: the target ends equal to an undisturbed run."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.integration.importer.world import Answer, World, chat, message

pytestmark = pytest.mark.integration
CHATS, EACH = 12, 100


async def _publish(world: World) -> None:
    await world.publish("chats", [chat(n) for n in range(1, CHATS + 1)])
    for n in range(1, CHATS + 1):
        await world.publish("chat_messages", [message(n * 1000 + i, n) for i in range(EACH)])


async def _equal_to_an_undisturbed_run(world: World) -> None:
    await world.until_statuses("chat_messages", {"IMPORT_OK": CHATS * EACH}, seconds=60)
    assert len(world.target.stored) == CHATS * (EACH + 1)
    assert set(world.target.applied.values()) == {1}
    assert all(ids == sorted(ids) for ids in world.target.order.values())
    assert await world.database.dead_letters.count_documents({}) == 0
    await world.until_nothing_is_parked()


@asynccontextmanager
async def _process(world: World) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {
        **os.environ,
        "CHATFERRY_PROJECT": world.project,
        "CHATFERRY_KAFKA": world.addresses.kafka,
        "CHATFERRY_MONGODB": world.addresses.mongodb,
        "CHATFERRY_REDIS": world.addresses.redis,
        "CHATFERRY_TARGET_URL": world.target.url,
        "CHATFERRY_BATCH_ITEMS": '{"chat_messages": 10}',
        "CHATFERRY_MAX_RECORDS": "200",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chatferry.importer"), env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_killed_in_mid_run_again_and_again_nothing_is_lost_or_doubled(world: World) -> None:
    async def slow(_entity: str, _items: list[dict[str, Any]]) -> Answer | None:
        await asyncio.sleep(0.05)
        return None

    world.target.behave = slow
    await world.open()
    await _publish(world)
    for part in (1, 2, 3):
        async with _process(world) as process:
            enough = CHATS * EACH * part // 4

            async def halfway(enough: int = enough) -> bool:
                return len(world.target.stored) > enough

            await world.until(halfway, "part of the work", seconds=60)
            process.send_signal(signal.SIGKILL)
    async with _process(world):
        await _equal_to_an_undisturbed_run(world)


async def test_a_rebalance_with_records_in_hand_loses_and_doubles_nothing(world: World) -> None:
    async def slow(_entity: str, _items: list[dict[str, Any]]) -> Answer | None:
        await asyncio.sleep(0.05)
        return None

    world.target.behave = slow
    await world.open()
    await _publish(world)
    changes: dict[str, Any] = {"batch_items": {"chat_messages": 10}, "max_records": 200}

    async def some() -> bool:
        return len(world.target.stored) > CHATS * EACH // 5

    async with world.importer(**changes):
        await world.until(some, "part of the work", seconds=40)
        async with world.importer(**changes):
            await _equal_to_an_undisturbed_run(world)


async def test_a_zombie_that_parks_late_is_drained_by_the_owner(world: World) -> None:
    await world.open()
    await world.publish("chats", [chat(1)])
    async with world.importer() as context:
        await world.until_statuses("chats", {"IMPORT_OK": 1})
        assert context.health.alive() == {}
        await world.store("chat_messages", [message(1001, 1)])
        sent = world.outgoing("chat_messages", message(1001, 1))
        row = {
            "_id": f"{sent.topic}/1/70",
            "entity": "chat_messages",
            "key": "source:chat:msg:1001",
            "version": 10,
            "parent": 1,
            "topic": sent.topic,
            "partition": 1,
            "offset": 70,
            "timestamp": 0,
            "reason": "behind",
            "not_before": None,
            "raw_key": sent.key,
            "value": sent.value,
            "headers": [list(header) for header in sent.headers],
        }
        await world.database.parked.insert_one(row)
        await world.until_statuses("chat_messages", {"IMPORT_OK": 1}, seconds=45)
        await world.until_nothing_is_parked()
