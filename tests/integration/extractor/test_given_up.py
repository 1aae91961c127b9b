"""Walks that were given up, accepted, or cut off between two of them: what goes out, and what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.extractor.crashing import Killed
from tests.integration.extractor.extractor_world import World, remembering
from tests.integration.extractor.test_not_believed import changing

from chatferry.common.entities import ENTITIES, FAMILIES
from chatferry.common.entities.reading import Answer, Command, Refusal
from chatferry.extractor.steps.parts import Parts
from chatferry.operator.accept import Word, accept

pytestmark = pytest.mark.integration
WORD = Word("Анна", datetime.now(UTC), "чат закрыт")


def largest(world: World) -> int:
    return max(world.portal.chats.values(), key=lambda chat: len(chat.log)).id


class Refusing:
    """A portal that shows the newest page of one chat and refuses its older ones for good."""

    def __init__(self, inner: Any, chat: int) -> None:
        self._inner, self._ref = inner, f"chat{chat}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        answers = list(await self._inner.batch(webhook, commands))
        for position, command in enumerate(commands):
            if command.params.get("DIALOG_ID") == self._ref and "LAST_ID" in command.params:
                answers[position] = Answer(refusal=Refusal("ACCESS_ERROR", transient=False))
        return answers


async def messages_sent(world: World, chat: int, hook: Any = None) -> int:
    """How many messages of the chat a Get sends."""
    sent = []

    def watching(parts: Parts) -> Parts:
        parts, keep = remembering(hook(parts) if hook else parts)
        sent.append(keep)
        return parts

    await world.get(hook=watching)
    records = [record for batch in sent[0].batches for record in batch]
    return sum(record.key == str(chat).encode() and b'"chat_id":' in record.value for record in records)


async def test_an_accepted_walk_goes_out_and_one_whose_gap_has_changed_since_does_not(world: World) -> None:
    chat, entity = largest(world), ENTITIES["chat_messages"]

    def refusing(parts: Parts) -> Parts:
        return replace(parts, portal=Refusing(parts.portal, chat))

    async def may_go_out() -> bool:
        chunk = await world.parts().publishing.unsent.unsent(entity, [chat], 1000)
        return chunk is not None

    assert await messages_sent(world, chat, refusing) == 0
    row = (await world.rows())[chat]
    assert (row["state"], row["gap"] > 0, await may_go_out()) == ("unreadable", True, False)
    await accept(world.database, row["_id"], WORD)
    assert await may_go_out()
    changed = {"_id": row["_id"]}
    await world.database.source_inventory.update_one(changed, {"$set": {"gap": row["gap"] + 1}})
    assert not await may_go_out(), "this gap was accepted by nobody"
    await world.database.source_inventory.update_one(changed, {"$set": {"gap": row["gap"], "state": "failed"}})
    assert not await may_go_out(), "in this state it was accepted by nobody"
    left = await world.parts().progress.waiting(FAMILIES["chats"])
    assert left.stuck == row["listed"] + row["absent"]


async def test_the_sweep_passes_over_every_walk_that_is_open_and_finds_all_that_have_ended(world: World) -> None:
    await world.get()
    await world.database.chat_messages.update_many({}, {"$set": {"due": True}})
    chats = sorted({doc["parent"] for doc in (await world.stored("chat_messages")).values()})
    walking = chats[::2]
    inventory = world.database.source_inventory
    await inventory.update_many({"seq": {"$in": walking}, "kind": "root"}, {"$set": {"state": "walking"}})
    outbox = world.parts().publishing.outbox
    page = await outbox.due_parents(ENTITIES["chat_messages"], 0)
    assert page is not None
    assert (page.ended, page.last) == ([chat for chat in chats if chat not in walking], chats[-1])
    assert await outbox.due_parents(ENTITIES["chat_messages"], page.last) is None


async def test_a_process_killed_between_two_walks_of_a_chat_leaves_the_second_one_to_the_next(world: World) -> None:
    chat = largest(world)

    def one_more(command: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        if command.params.get("DIALOG_ID") == f"chat{chat}" and "message_count" in result:
            return {**result, "message_count": result["message_count"] + 1}
        return result

    class Dying:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def restart(self, *_: Any) -> None:
            raise Killed

    asked: list[Command] = []

    def watched(command: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append(command)
        return one_more(command, result)

    run = await world.ask()
    with pytest.raises(Killed):
        await world.drive(run, lambda parts: replace(changing(one_more)(parts), inventory=Dying(parts.inventory)))
    assert (await world.rows())[chat]["walk"]["closed_low"] is True
    document = await world.drive(run, changing(watched))
    assert document["state"] == "completed"
    assert not [command for command in asked if command.params.get("LAST_ID") == 0]
    row = (await world.rows())[chat]
    assert (row["state"], row["walks"], row["gap"]) == ("closed", 1, 1)
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()
    await world.assert_intervals(run)


async def test_an_edit_of_a_record_that_still_cannot_be_read_leaves_one_dead_letter(world: World) -> None:
    chat = largest(world)
    number = list(world.truth(chat))[3]

    def dated(date: str) -> Any:
        def change(_: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
            rows = result.get("messages")
            if rows is None:
                return result
            return {**result, "messages": [{**row, "date": date} if row["id"] == number else row for row in rows]}

        return changing(change)

    async def states() -> list[str]:
        return sorted([doc["state"] async for doc in world.database.dead_letters.find({})])

    await world.get(hook=dated("2024-02-30T10:00:00+03:00"))
    assert await states() == ["dead"]
    await world.get(hook=dated("2024-02-31T10:00:00+03:00"))
    assert await states() == ["dead", "superseded"]
    await world.assert_balanced()
    await world.get()
    assert await states() == ["superseded", "superseded"]
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()
