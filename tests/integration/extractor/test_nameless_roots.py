"""Rows of a list of roots that name none: dead letters of the extractor, for nobody can ask for what has no name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.extractor.crashing import Countdown, Killed, dying
from tests.integration.extractor.extractor_world import World
from tests.integration.extractor.test_not_believed import changing

from chatferry.common.entities.reading import Command
from chatferry.operator.dlq.discard import Word, discard
from chatferry.operator.dlq.selection import Selection

pytestmark = pytest.mark.integration


def group_chat(world: World) -> int:
    return next(chat.id for chat in world.portal.chats.values() if chat.message_type == "C")


def private_chat(world: World) -> int:
    return next(chat.id for chat in world.portal.chats.values() if chat.message_type == "P")


def listed_with(chat: int, **fields: Any) -> Any:
    """The list shows one chat otherwise than it is."""

    def change(command: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        if command.method != "im.recent.list":
            return result
        rows = [{**row, **fields} if row["chat_id"] == chat else row for row in result["items"]]
        return {**result, "items": rows}

    return changing(change)


async def letters(world: World) -> list[tuple[str, str]]:
    return [(doc["state"], doc["code"]) async for doc in world.database.dead_letters.find({}).sort("version", 1)]


async def dead(world: World) -> int:
    account = await world.account("chats")
    assert account.balanced, account
    return account.dead


@pytest.mark.parametrize("number", [None, 0, "x", 2**60, [7]])
async def test_a_listed_chat_without_a_usable_number_is_one_dead_letter_however_often_it_is_listed(
    world: World, number: Any
) -> None:
    chat = group_chat(world)
    hook = listed_with(chat, chat_id=number)
    await world.get(hook=hook)
    assert chat not in await world.rows()
    assert (await letters(world), await dead(world)) == ([("dead", "record.no_id")], 1)
    copied = await world.database.dead_letters.find_one({})
    assert copied is not None
    assert (copied["entity"], copied["copied"], copied["key"].startswith("source:chat:unidentified:")) == (
        "chats",
        True,
        True,
    )
    # What the list shows beside its name moves with every message.
    chat_ = world.portal.chats[chat]
    world.running.changes.post(chat, next(iter(chat_.members)), "новое")
    await world.get(hook=hook)
    assert (len(await letters(world)), await dead(world)) == (1, 1)
    await world.assert_balanced()


@pytest.mark.parametrize("ref", [None, "", 0, True, {"a": 1}])
async def test_a_listed_chat_that_nobody_can_ask_for_is_a_dead_letter(world: World, ref: Any) -> None:
    await world.get(hook=listed_with(private_chat(world), id=ref))
    assert private_chat(world) not in await world.rows()
    assert (await letters(world), await dead(world)) == ([("dead", "record.no_id")], 1)
    await world.assert_balanced()


async def test_the_number_of_a_partner_is_not_taken_for_that_of_the_chat(world: World) -> None:
    await world.get(hook=listed_with(private_chat(world), chat_id=None))
    stored = await world.database.chats.find_one({"status": "IMPORT_ERR"})
    assert stored is not None
    assert (stored["seq"], stored["parent"], stored["payload"]) == (0, None, None)


async def test_rows_that_say_nothing_at_all_are_a_dead_letter_for_each_kind(world: World) -> None:
    def change(command: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        if command.method != "im.recent.list":
            return result
        return {**result, "items": [*result["items"], None, 5, {"title": "а"}, {"title": "б"}, {"title": "б"}]}

    await world.get(hook=changing(change))
    assert (len(await letters(world)), await dead(world)) == (4, 4)
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()


async def test_a_row_that_names_no_chat_stays_given_up_when_an_operator_gave_it_up(world: World) -> None:
    hook = listed_with(group_chat(world), chat_id=None)
    await world.get(hook=hook)
    word = Word("Анна", datetime.now(UTC), "чат-призрак")
    await discard(world.database, Selection(), word, with_children=False)
    account = await world.account("chats")
    assert (account.dead, account.skipped, account.balanced) == (0, {word.skip_reason: 1}, True)
    await world.get(hook=hook)
    assert (await letters(world), await dead(world)) == ([("discarded", "record.no_id")], 0)


@pytest.mark.parametrize("before", [True, False])
async def test_the_ledger_balances_wherever_a_process_dies_while_it_lists(world: World, before: bool) -> None:
    hook = listed_with(group_chat(world), chat_id=None)
    run = await world.ask()
    for at in range(3, 24, 4):
        countdown = Countdown(at, before=before)
        with pytest.raises(Killed):
            await world.drive(run, lambda parts: dying(hook(parts), countdown))  # noqa: B023
        assert (await world.account("chats")).balanced
    await world.drive(run, hook)
    assert await dead(world) == 1
    await world.assert_balanced()
