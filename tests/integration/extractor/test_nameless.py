"""Rows without an id: dead letters of the extractor, which no interval of ids covers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.extractor.crashing import Countdown, Killed, dying
from tests.integration.extractor.extractor_world import World
from tests.integration.extractor.test_not_believed import changing

from chatferry.common.adapters.mongo import Document
from chatferry.common.documents import GONE
from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.entities.reading import Command
from chatferry.extractor.adapters.records import MongoRecords
from chatferry.extractor.adapters.rejects import Rejects
from chatferry.extractor.domain.records import Candidate
from chatferry.operator.dlq.discard import Word, discard
from chatferry.operator.dlq.selection import Selection

pytestmark = pytest.mark.integration
MESSAGES = ENTITIES["chat_messages"]
LOST = [("999999", 999_999), ("unidentified:0123456789abcdef", 0)]


def largest(world: World) -> int:
    return max(world.portal.chats.values(), key=lambda chat: len(chat.log)).id


def without_id(*numbers: int, text: str | None = None) -> Any:
    """The portal shows these messages without their ids, and with this text."""
    changed = {"id": None} if text is None else {"id": None, "text": text}

    def change(command: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        if "messages" not in result:
            return result
        rows = [{**row, **changed} if row["id"] in numbers else row for row in result["messages"]]
        return {**result, "messages": rows}

    return changing(change)


async def letters(world: World) -> list[str]:
    """States of all dead letters, oldest first."""
    return [doc["state"] async for doc in world.database.dead_letters.find({}).sort("version", 1)]


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
    assert await rejected(world, chat) == (0, 0)
    assert (await world.account("chat_messages", chat)).skipped == {GONE: 2}
    assert await letters(world) == ["superseded"] * 2
    assert mended in await world.stored("chat_messages")
    absent = [page["absent"] async for page in world.database.page_log.find({"run": run["_id"], "parent": chat})]
    assert sum(absent) == (await world.rows())[chat]["absent"] == 2
    await world.get(hook=without_id(mended))
    await world.assert_balanced()


async def test_a_row_without_an_id_that_changes_has_one_living_letter(world: World) -> None:
    """Its key is made of its content, so that each content is another record to us."""
    chat = largest(world)
    number = list(world.truth(chat))[4]
    for text in ("раз", "два", "три"):
        await world.get(hook=without_id(number, text=text))
        await world.assert_balanced()
    assert await letters(world) == ["superseded", "superseded", "dead"]
    assert await rejected(world, chat) == (1, 1)
    assert (await world.account("chat_messages", chat)).skipped == {GONE: 2}


async def test_a_row_without_an_id_that_is_met_again_unchanged_keeps_its_letter(world: World) -> None:
    number = list(world.truth(largest(world)))[4]
    for _ in range(3):
        await world.get(hook=without_id(number))
    assert await letters(world) == ["dead"]
    await world.assert_balanced()


async def test_a_row_without_an_id_that_comes_back_is_a_dead_letter_again(world: World) -> None:
    chat = largest(world)
    number = list(world.truth(chat))[4]
    await world.get(hook=without_id(number))
    await world.get()
    await world.get(hook=without_id(number))
    assert await letters(world) == ["superseded", "dead"]
    assert await rejected(world, chat) == (1, 1)
    await world.assert_balanced()
    await world.get()
    assert await letters(world) == ["superseded"] * 2
    assert await rejected(world, chat) == (0, 0)


async def test_what_an_operator_gave_up_stays_given_up_whether_it_is_met_or_not(world: World) -> None:
    chat = largest(world)
    number = list(world.truth(chat))[4]
    await world.get(hook=without_id(number))
    word = Word("Анна", datetime.now(UTC), "испорчено")
    await discard(world.database, Selection(), word, with_children=False)
    for hook in (without_id(number), without_id(), without_id(number)):
        await world.get(hook=hook)
        assert await letters(world) == ["discarded"]
        assert (await world.account("chat_messages", chat)).skipped == {word.skip_reason: 1}
    await world.assert_balanced()


async def test_a_walk_that_does_not_prove_that_it_saw_all_ends_no_letter(world: World) -> None:
    chat = largest(world)
    number = list(world.truth(chat))[4]
    await world.get(hook=without_id(number))

    def fewer_than_claimed(command: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = result.get("messages", ())
        return {**result, "messages": [row for row in rows if row["id"] != number]} if rows else result

    await world.get(hook=changing(fewer_than_claimed))
    assert (await world.rows())[chat]["gap"] == 1
    assert (await letters(world), await rejected(world, chat)) == (["dead"], (1, 0))
    await world.assert_balanced()
    await world.get(test_limit=3)
    assert (await letters(world), await rejected(world, chat)) == (["dead"], (1, 0))


@pytest.mark.parametrize("before", [True, False])
async def test_letters_end_and_the_ledger_balances_wherever_a_process_dies(world: World, before: bool) -> None:
    chat = largest(world)
    numbers = list(world.truth(chat))
    world.sizes = replace(world.sizes, batch_commands=4, page_size=5)
    await world.get(hook=without_id(*numbers[3:6]))
    changed = without_id(*numbers[4:6], text="иначе")
    run = await world.ask()
    for at in range(4, 64, 6):
        countdown = Countdown(at, before=before)
        with suppress(Killed):
            await world.drive(run, lambda parts: dying(changed(parts), countdown))  # noqa: B023
        await world.assert_balanced()
    await world.drive(run, changed)
    await world.assert_balanced()
    assert sorted(await letters(world)) == ["dead"] * 2 + ["superseded"] * 3
    assert await rejected(world, chat) == (2, 2)


async def test_a_process_killed_between_a_record_that_is_gone_and_its_letter_leaves_both_to_the_next(
    world: World,
) -> None:
    class DyingLetters(Rejects):
        async def _end(self, which: Document, reason: str) -> None:
            raise Killed

    class Dying(MongoRecords):
        async def bury(self, entity: Entity, parent: int, began: int, version: int) -> None:
            self._letters = DyingLetters(world.database, world.clock)
            await super().bury(entity, parent, began, version)

    chat = largest(world)
    await world.get(hook=without_id(list(world.truth(chat))[4]))
    run = await world.ask()
    with pytest.raises(Killed):
        await world.drive(run, lambda parts: replace(parts, records=Dying(world.database, world.clock)))
    assert (await world.account("chat_messages", chat)).skipped == {GONE: 1}
    assert await letters(world) == ["dead"]
    await world.drive(run)
    assert await letters(world) == ["superseded"]
    await world.assert_balanced()


async def test_a_letter_whose_record_was_never_stored_ends_when_its_row_is_gone(world: World) -> None:
    """With an id or without: a process was killed behind the letter, and nobody can read that row again."""
    chat = largest(world)
    await world.get()
    records = MongoRecords(world.database, world.clock)
    rejects = [Candidate(f"source:chat:msg:{name}", seq, chat, None, "h", (), "c", b"{}") for name, seq in LOST]
    await records._letters.bury(MESSAGES, rejects, 1)
    assert await letters(world) == ["dead"] * 2
    await world.get()
    assert await letters(world) == ["superseded"] * 2
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
