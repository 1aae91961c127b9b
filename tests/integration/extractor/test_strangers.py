"""Users that the portal's list lacks: what becomes of them later is found by later runs of either family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.extractor.extractor_world import World, remembering

from chatferry.common.entities.reading import Answer, Command, Refusal
from chatferry.extractor.steps.parts import Parts
from chatferry.operator.accept import Word, accept

pytestmark = pytest.mark.integration


def a_bot(world: World) -> int:
    members = {user for chat in world.portal.chats.values() for user in chat.members}
    return next(user.id for user in world.portal.users.values() if user.bot and user.id in members)


async def rename(world: World, user: int) -> None:
    before = world.portal.users[user]
    world.portal.put_user(replace(before, first_name="Переименован", active=False))


class Answering:
    """A portal whose answers to one method are changed, and whose questions are counted."""

    def __init__(self, inner: Any, method: str, answer: Any) -> None:
        self._inner, self._method, self._answer, self.asked = inner, method, answer, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        answers = list(await self._inner.batch(webhook, commands))
        for position, command in enumerate(commands):
            if command.method == self._method:
                self.asked += 1
                answers[position] = self._answer(answers[position])
        return answers


def answering(method: str, answer: Any) -> tuple[Any, list[Answering]]:
    made: list[Answering] = []

    def hook(parts: Parts) -> Parts:
        made.append(Answering(parts.portal, method, answer))
        return replace(parts, portal=made[-1])

    return hook, made


@pytest.mark.parametrize("family", ["users", "chats"])
async def test_a_stranger_who_changed_is_a_new_version_and_goes_out(world: World, family: str) -> None:
    await world.get("users")
    await world.get()
    bot = a_bot(world)
    before = (await world.stored("users"))[bot]
    await rename(world, bot)
    sent = []

    def hook(parts: Parts) -> Parts:
        parts, keep = remembering(parts)
        sent.append(keep)
        return parts

    run = await world.get(family, hook=hook)
    after = (await world.stored("users"))[bot]
    assert after["version"] > before["version"]
    assert (after["payload"]["first_name"], after["payload"]["active"]) == ("Переименован", False)
    assert (after["status"], run["published"]) == ("NEW", 1)
    subjects = [head["ce_subject"] for head in sent[0].headers() if head["ce_type"] == b"users.extracted"]
    assert subjects == [after["_id"].encode()]
    assert (await world.account("users")).balanced


async def test_strangers_who_did_not_change_are_asked_for_once_a_run_and_published_no_more(world: World) -> None:
    await world.get()
    users = await world.stored("users")
    for family in ("users", "chats"):
        hook, made = answering("im.user.list.get", lambda answer: answer)
        before = await world.stored("users") if family == "chats" else {}
        await world.get(family, hook=hook)
        assert made[0].asked == 1
        if before:
            assert await world.stored("users") == before
    assert users.keys() <= (await world.stored("users")).keys()


async def test_a_stranger_whom_only_pages_show_is_read_from_them_again(world: World) -> None:
    """As guests of open lines: no method knows them, the page that mentions them does."""
    bot = a_bot(world)

    def unknown(answer: Answer) -> Answer:
        rows = answer.result.values() if isinstance(answer.result, Mapping) else answer.result
        return replace(answer, result=[row for row in rows if isinstance(row, Mapping) and row.get("id") != bot])

    hook, _ = answering("im.user.list.get", unknown)
    await world.get(hook=hook)
    assert bot in await world.stored("users")
    await rename(world, bot)
    await world.get(hook=hook)
    assert (await world.stored("users"))[bot]["payload"]["first_name"] == "Переименован"
    row = await world.database.source_inventory.find_one({"kind": "stranger", "seq": bot})
    assert row is not None
    assert (row["state"], "raw" in row) == ("resolved", False)


async def test_a_webhook_that_may_not_ask_for_strangers_takes_none_of_them_away(world: World) -> None:
    await world.get()
    before = await world.stored("users")
    denied, made = answering(
        "im.user.list.get", lambda _: Answer(refusal=Refusal("insufficient_scope", transient=False))
    )
    run = await world.get("users", hook=denied)
    assert (run["state"], made[0].asked) == ("completed", 1)
    rows = [row async for row in world.database.source_inventory.find({"kind": "stranger"})]
    assert {row["state"] for row in rows if row["seq"] in before} == {"resolved"}
    bots = {user.id for user in world.portal.users.values() if user.bot} & before.keys()
    after = await world.stored("users")
    assert {bot: after[bot] for bot in bots} == {bot: before[bot] for bot in bots}
    assert (await world.account("users")).balanced


async def test_an_accepted_gap_of_the_list_of_users_holds_until_the_gap_changes(world: World) -> None:
    claims = [3]

    def more(answer: Answer) -> Answer:
        return answer if answer.total is None else replace(answer, total=answer.total + claims[0])

    hook, _ = answering("user.get", more)
    await world.get("users", hook=hook)
    word = Word("Анна", datetime.now(UTC), "три сервисных учётных записи")
    await accept(world.database, "listing:users", word)
    await world.get("users", hook=hook)
    row = await world.database.source_inventory.find_one({"_id": "listing:users"})
    assert row is not None
    assert (row["gap"], row["accepted"]["by"], row["accepted"]["gap"]) == (3, "Анна", 3)
    claims[0] = 5
    await world.get("users", hook=hook)
    row = await world.database.source_inventory.find_one({"_id": "listing:users"})
    assert row is not None
    assert (row["gap"], row["accepted"]["gap"]) == (5, 3)


async def test_a_list_that_is_read_again_keeps_its_account_until_it_is_through(world: World) -> None:
    await world.get("users")
    before = await world.account("users")
    seen: list[bool] = []

    class Watched:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def put_listing(self, entity: Any, run: str, epoch: int, fields: Mapping[str, Any]) -> None:
            await self._inner.put_listing(entity, run, epoch, {**fields, "state": "walking", "listed": 1})
            now = await world.account("users")
            seen.append(now.balanced and now.read == before.read)
            await self._inner.put_listing(entity, run, epoch, fields)

    await world.get("users", hook=lambda parts: replace(parts, listings=Watched(parts.listings)))
    assert seen
    assert all(seen)
    assert (await world.account("users")).balanced


async def test_whom_a_message_was_forwarded_from_is_looked_up_as_its_author_is(world: World) -> None:
    """Who is known to the portal gets a record; who is not is named, and the message goes out all the same."""
    known = next(user for user in (*range(5001, 5100),) if user not in world.portal.users)
    bot = world.portal.users[a_bot(world)]
    world.portal.put_user(replace(bot, id=known))
    origins = [known, 987_654]
    forwarded: dict[int, int] = {}

    def forward(answer: Answer) -> Answer:
        for row in (answer.result or {}).get("messages", ()) if answer.refusal is None else ():
            if row["id"] in forwarded or len(forwarded) < len(origins):
                user = forwarded.setdefault(row["id"], origins[len(forwarded) % len(origins)])
                params = row["params"] if isinstance(row.get("params"), dict) else {}
                row["params"] = {**params, "FORWARD_ID": "1", "FORWARD_USER_ID": str(user)}
        return answer

    hook, _ = answering("im.dialog.messages.get", forward)
    await world.get(hook=hook)
    assert sorted(forwarded.values()) == sorted(origins)
    assert known in await world.stored("users")
    row = await world.database.source_inventory.find_one({"kind": "stranger", "seq": 987_654})
    assert row is not None
    assert row["state"] == "unresolvable"
    messages = await world.stored("chat_messages")
    for number, user in forwarded.items():
        assert messages[number]["payload"]["forwarded_from"]["user_id"] == user
        assert "due" not in messages[number]
