"""A question about fifty users that is refused says nothing of each of them: what it says is told apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.extractor.extractor_world import World

from chatferry.common.entities import Entity
from chatferry.common.entities.reading import Answer, Command, Refusal
from chatferry.extractor.ports import Stranger
from chatferry.extractor.steps.parts import Parts
from chatferry.operator.accept import Word, accept

pytestmark = pytest.mark.integration
_METHOD = "im.user.list.get"
Refuse = Callable[[Sequence[int]], Refusal | None]


class Refusing:
    """A portal that refuses questions for strangers; `asked`: the users of each."""

    def __init__(self, inner: Any, refuse: Refuse) -> None:
        self._inner, self._refuse, self.asked = inner, refuse, list[list[int]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        answers = list(await self._inner.batch(webhook, commands))
        for position, command in enumerate(commands):
            if command.method == _METHOD:
                self.asked.append(command.params["ID"])
                refusal = self._refuse(command.params["ID"])
                answers[position] = answers[position] if refusal is None else Answer(refusal=refusal)
        return answers


class Unseen:
    """Strangers whom no page shows: only the portal's answer can tell who they are."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def want(self, entity: Entity, strangers: Sequence[Stranger], unknown: Collection[int]) -> None:
        await self._inner.want(entity, [replace(one, raw=None) for one in strangers], unknown)


def refusing(refuse: Refuse) -> tuple[Callable[[Parts], Parts], list[Refusing]]:
    made: list[Refusing] = []

    def hook(parts: Parts) -> Parts:
        made.append(Refusing(parts.portal, refuse))
        return replace(parts, portal=made[-1], strangers=Unseen(parts.strangers))

    return hook, made


async def strangers(world: World) -> dict[int, tuple[str, str | None]]:
    rows = world.database.source_inventory.find({"kind": "stranger"})
    return {row["seq"]: (row["state"], row.get("reason")) async for row in rows}


async def test_a_question_that_fails_for_now_is_asked_three_times_and_is_a_failed_read(world: World) -> None:
    hook, made = refusing(lambda _: Refusal("INTERNAL_SERVER_ERROR", transient=True))
    run = await world.get(hook=hook)
    assert run["state"] == "completed"
    assert [len(ids) for ids in made[0].asked] == [len(made[0].asked[0])] * 3
    rows = await strangers(world)
    assert set(rows.values()) == {("failed", "the portal refused it 3 times (INTERNAL_SERVER_ERROR)")}
    assert (await world.account("users")).balanced
    # The next run asks again: nothing is said of them for good.
    await world.get()
    known = await world.stored("users")
    assert known
    assert {seq for seq, row in (await strangers(world)).items() if row == ("resolved", None)} == known.keys()


async def test_who_was_known_before_stays_and_is_a_failed_read_until_the_portal_answers(world: World) -> None:
    """Nobody knows whether that record is still the newest: a person may take it by name."""
    await world.get()
    before = await world.stored("users")
    hook, _ = refusing(lambda _: Refusal("INTERNAL_SERVER_ERROR", transient=True))
    await world.get(hook=hook)
    assert await world.stored("users") == before
    rows = await strangers(world)
    assert {rows[seq][0] for seq in before} == {"failed"}
    assert (await world.account("users")).balanced
    seq = next(iter(before))
    note = await accept(world.database, f"stranger:{before[seq]['_id']}", Word("Анна", datetime.now(UTC), None))
    assert note["state"] == "failed"
    await world.get("users")
    assert (await world.account("users")).balanced
    await world.get("users", hook=hook)
    assert (await world.account("users")).balanced
    await world.get("users")
    left = {state for state, _ in (await strangers(world)).values()}
    assert left <= {"resolved", "unresolvable"}
    assert (await world.account("users")).balanced


async def test_a_question_that_is_refused_for_good_is_traced_down_to_who_causes_it(world: World) -> None:
    await world.get()
    everybody = sorted(await world.stored("users"))
    await world.database.users.delete_many({})
    await world.database.source_inventory.delete_many({"kind": "stranger"})
    await world.database.chats.update_many({}, {"$set": {"payload_hash": "as if it were read for the first time"}})
    causes = {everybody[1], everybody[-2]}
    hook, made = refusing(lambda ids: Refusal("ACCESS_ERROR", transient=False) if causes & set(ids) else None)
    await world.get(hook=hook)
    rows = await strangers(world)
    refused = {seq for seq, row in rows.items() if row == ("unreadable", "the portal refused it (ACCESS_ERROR)")}
    assert refused == causes
    assert {seq for seq, row in rows.items() if row[0] == "resolved"} == set(everybody) - causes
    assert set(await world.stored("users")) == set(everybody) - causes
    assert (await world.account("users")).balanced
    assert {seq for ids in made[0].asked if len(ids) == 1 for seq in ids} >= causes
    # Halves of halves, not one by one.
    assert len(made[0].asked) < 4 * len(causes) * max(2, len(rows).bit_length())


async def test_a_method_that_is_refused_is_not_asked_for_each_user(world: World) -> None:
    hook, made = refusing(lambda _: Refusal("ACCESS_DENIED", transient=False))
    await world.get(hook=hook)
    assert len(made[0].asked) == 1
    rows = await strangers(world)
    assert len(rows) > 1
    assert set(rows.values()) == {("unreadable", "the portal refused it (ACCESS_DENIED)")}


async def test_a_refused_user_whom_a_page_shows_is_taken_from_there(world: World) -> None:
    def hook(parts: Parts) -> Parts:
        refused = Refusing(parts.portal, lambda _: Refusal("ACCESS_ERROR", transient=False))
        return replace(parts, portal=refused)

    await world.get(hook=hook)
    shown = {user for chat in world.portal.chats.values() for user in chat.members}
    assert shown & (await world.stored("users")).keys()
    assert (await world.account("users")).balanced


async def test_a_refusal_for_a_time_that_is_told_is_no_attempt(world: World) -> None:
    left = [5]

    def later(_: Sequence[int]) -> Refusal | None:
        left[0] -= 1
        return None if left[0] < 0 else Refusal("OPERATION_TIME_LIMIT", transient=True, later_s=0.01)

    hook, made = refusing(later)
    await world.get(hook=hook)
    assert len(made[0].asked) == 6
    assert "failed" not in {state for state, _ in (await strangers(world)).values()}
    assert await world.stored("users")
