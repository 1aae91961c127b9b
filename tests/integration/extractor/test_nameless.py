"""Rows without an id: dead letters of the extractor, which no interval of ids covers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.integration.extractor.extractor_world import World
from tests.integration.extractor.test_not_believed import changing

from chatferry.common.entities.reading import Command

pytestmark = pytest.mark.integration


def largest(world: World) -> int:
    return max(world.portal.chats.values(), key=lambda chat: len(chat.log)).id


def without_id(*numbers: int) -> Any:
    def change(command: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        if "messages" not in result:
            return result
        rows = [{**row, "id": None} if row["id"] in numbers else row for row in result["messages"]]
        return {**result, "messages": rows}

    return changing(change)


async def rejected(world: World, chat: int) -> tuple[int, int]:
    """Dead records of the chat, and those of them that the newest walk has met."""
    account = await world.account("chat_messages", chat)
    return account.dead, (await world.rows())[chat]["rejected"]


async def test_a_row_without_an_id_that_vanished_leaves_no_chat_one_short(world: World) -> None:
    chat = largest(world)
    numbers = list(world.truth(chat))
    lost, mended = numbers[4], numbers[8]
    await world.get(hook=without_id(lost, mended))
    await world.assert_balanced()
    assert await rejected(world, chat) == (2, 2)
    world.running.changes.erase(chat, lost)
    run = await world.get()
    await world.assert_balanced()
    assert await rejected(world, chat) == (2, 0)
    assert mended in await world.stored("chat_messages")
    absent = [page["absent"] async for page in world.database.page_log.find({"run": run["_id"], "parent": chat})]
    assert sum(absent) == (await world.rows())[chat]["absent"] == 2
    await world.get(hook=without_id(mended))
    await world.assert_balanced()


async def test_one_that_vanished_before_a_walk_that_must_be_made_again_is_counted_once(world: World) -> None:
    chat = largest(world)
    lost = list(world.truth(chat))[4]
    await world.get(hook=without_id(lost))
    world.running.changes.erase(chat, lost)

    def one_more(command: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        if command.params.get("DIALOG_ID") == f"chat{chat}" and "message_count" in result:
            return {**result, "message_count": result["message_count"] + 1}
        return result

    await world.get(hook=changing(one_more))
    row = (await world.rows())[chat]
    assert (row["walks"], row["gap"], row["absent"]) == (1, 1, 1)
    await world.assert_balanced()
