"""A webhook that does not see all of a chat, a method that is gone: another one may do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.extractor.conftest import small_portal
from tests.integration.extractor.extractor_world import World, a_world
from tests.integration.extractor.test_not_believed import texts

from chatferry.common.entities.reading import Answer, Command, Refusal
from chatferry.simulators.bitrix24 import Portal, PortalSettings, Quirks
from chatferry.simulators.bitrix24.model import Chat
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


def shared(portal: Portal) -> list[Chat]:
    """Chats that the webhooks of users 1 and 3 both see."""
    return [chat for chat in portal.chats.values() if {1, 3} <= chat.members.keys() and len(chat.log) > 5]


def hide(chats: Iterable[Chat], of: dict[int, int]) -> None:
    """How many of the oldest messages each user does not see."""
    for chat in chats:
        for user, hidden in of.items():
            chat.members[user] = list(chat.log.ids)[hidden] if hidden else 0


async def gaps(world: World, chats: Iterable[Chat]) -> set[int]:
    rows = await world.rows()
    return {rows[chat.id]["gap"] for chat in chats}


async def readers(world: World, chats: Iterable[Chat]) -> set[int]:
    rows = await world.rows()
    return {rows[chat.id]["reader"] for chat in chats}


@pytest.mark.parametrize("whole", [1, 3])
async def test_a_chat_whose_history_one_webhook_sees_whole_is_read_whole(
    stack: Addresses, topics: str, whole: int
) -> None:
    portal = small_portal()
    chats = shared(portal)
    hide(chats, {whole: 0, 4 - whole: 3})
    async with a_world(stack, portal, webhooks=[1, 3], topics_of=topics) as world:
        for _ in range(2):
            run = await world.get()
            assert await gaps(world, chats) == {0}
            assert await readers(world, chats) == {whole}
            await world.assert_balanced()
            await world.assert_intervals(run["_id"])
        assert {row["walks"] for row in (await world.rows()).values()} == {0}
        stored = await world.stored("chat_messages")
        assert {number for chat in chats for number in chat.log.ids} <= stored.keys()
        assert not any(doc["payload"]["deleted"] and not doc["payload"]["text"] for doc in stored.values())


async def test_the_webhook_that_sees_most_has_the_last_word(stack: Addresses, topics: str) -> None:
    portal = small_portal()
    chats = shared(portal)
    hide(chats, {1: 2, 3: 4})
    async with a_world(stack, portal, webhooks=[1, 3], topics_of=topics) as world:
        for _ in range(2):
            run = await world.get()
            assert await gaps(world, chats) == {2}
            assert await readers(world, chats) == {1}
            await world.assert_balanced()
            await world.assert_intervals(run["_id"])


async def test_what_a_webhook_that_sees_less_does_not_show_is_not_buried(stack: Addresses, topics: str) -> None:
    """The one that saw it whole may not read it any more: nobody knows what is gone."""
    portal = small_portal()
    chats = [chat for chat in shared(portal) if chat.message_type != "P"]
    hide(chats, {1: 0, 3: 4})
    async with a_world(stack, portal, webhooks=[1, 3], topics_of=topics) as world:
        await world.get()
        before = await texts(world)
        for chat in chats:
            del chat.members[1]
        portal.changed()
        await world.get()
        assert await texts(world) == before
        assert await gaps(world, chats) == {4}
        await world.assert_balanced()


class Without:
    """A portal that refuses the planning method, after so many batches."""

    def __init__(self, inner: Any, code: str, after: int) -> None:
        self._inner, self._refusal, self._left = inner, Refusal(code, transient=False), after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        answers: list[Answer] = await self._inner.batch(webhook, commands)
        self._left -= 1
        gone = [command.method == "im.chat.message.list" and self._left < 0 for command in commands]
        return [Answer(refusal=self._refusal) if lost else answer for lost, answer in zip(gone, answers, strict=True)]


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize(
    ("code", "method"),
    [("ERROR_METHOD_NOT_FOUND", "im.dialog.messages.get"), ("ACCESS_DENIED", "im.chat.message.list")],
)
async def test_a_planning_method_that_is_gone_in_mid_run_gives_way_to_the_real_one(
    stack: Addresses, topics: str, code: str, method: str, after: int
) -> None:
    rules = PortalSettings(quirks=Quirks(planning_message_list=True))
    async with a_world(stack, small_portal(), rules, topics_of=topics) as world:
        world.sizes = replace(world.sizes, page_size=5, batch_commands=12)
        run = await world.get(hook=lambda parts: replace(parts, portal=Without(parts.portal, code, after)))
        rows = (await world.rows()).values()
        assert {(row["state"], row["gap"]) for row in rows} == {("closed", 0)}
        assert "im.dialog.messages.get" in {row["method"] for row in rows}
        assert run["method"] == method
        await world.assert_equal_to_the_portal()
        await world.assert_balanced()
        await world.assert_intervals(run["_id"])
