"""What a portal does not show is gone only when its own count says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.extractor.extractor_world import World

from chatferry.common.entities.reading import Answer, Command
from chatferry.extractor.steps.parts import Parts

pytestmark = pytest.mark.integration
Change = Callable[[Command, Mapping[str, Any]], Mapping[str, Any]]


class Changing:
    """A portal whose answers are changed on their way."""

    def __init__(self, inner: Any, change: Change) -> None:
        self._inner, self._change = inner, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        answers = await self._inner.batch(webhook, commands)
        return [
            replace(answer, result=self._change(command, answer.result)) if isinstance(answer.result, dict) else answer
            for command, answer in zip(commands, answers, strict=True)
        ]


def changing(change: Change) -> Callable[[Parts], Parts]:
    return lambda parts: replace(parts, portal=Changing(parts.portal, change))


async def texts(world: World) -> dict[str, str]:
    found = world.database.chat_messages.find({}, {"payload.text": 1, "payload.deleted": 1})
    return {doc["_id"]: f"{doc['payload']['deleted']} {doc['payload']['text']}" async for doc in found}


async def test_older_pages_that_come_back_empty_bury_nothing_and_are_a_gap(world: World) -> None:
    """A sick portal, or another webhook that sees no history before it joined."""
    await world.get()
    before = await texts(world)

    def no_history(command: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**result, "messages": []} if "LAST_ID" in command.params else result

    await world.get(hook=changing(no_history))
    assert await texts(world) == before
    gaps = [row["gap"] for row in (await world.rows()).values() if row["claimed"] > 10]
    assert gaps
    assert min(gaps) > 0
    await world.assert_balanced()

    await world.get()
    assert await texts(world) == before
    assert {row["gap"] for row in (await world.rows()).values()} == {0}


async def test_a_dialog_without_its_last_message_id_is_no_answer_and_buries_nothing(world: World) -> None:
    await world.get()
    before = await texts(world)

    def no_watermark(command: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**result, "last_message_id": None} if command.method == "im.dialog.get" else result

    await world.get(hook=changing(no_watermark))
    assert await texts(world) == before
    states = {(row["state"], row["claimed"] == 0) for row in (await world.rows()).values()}
    assert states <= {("failed", False), ("closed", True)}
    await world.assert_balanced()


@pytest.mark.parametrize("newer", [3, 10, 25])
async def test_messages_that_are_shown_above_a_watermark_of_old_are_not_buried(world: World, newer: int) -> None:
    await world.get()
    before = await texts(world)
    met = []

    def of_old(command: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        if command.method != "im.dialog.get" or result["message_count"] <= newer:
            return result
        ids = sorted(world.portal.chats[int(result["id"])].log.ids)[:-newer]
        met.append(result["id"])
        return {**result, "message_count": len(ids), "last_message_id": ids[-1]}

    await world.get(hook=changing(of_old))
    assert met
    assert await texts(world) == before
    await world.assert_balanced()
    run = await world.get()
    assert await texts(world) == before
    await world.assert_balanced()
    await world.assert_intervals(run["_id"])


async def test_the_last_message_is_buried_when_it_is_gone(world: World) -> None:
    await world.get()
    chat = max(world.portal.chats.values(), key=lambda one: len(one.log)).id
    last = max(world.truth(chat))
    world.running.changes.erase(chat, last)
    await world.get()
    assert (await world.stored("chat_messages"))[last]["payload"]["deleted"]
    await world.assert_balanced()
