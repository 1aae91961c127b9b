"""Users that the portal's list lacks, and whose raw form cannot be read: dead letters, as of any other record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.extractor.extractor_world import World
from tests.integration.extractor.test_strangers import a_bot, answering

from chatferry.common.entities.reading import Answer, Refusal, rows_of
from chatferry.extractor.steps.parts import Parts
from chatferry.operator.dlq.discard import Word, discard
from chatferry.operator.dlq.selection import Selection

pytestmark = pytest.mark.integration
_METHOD = "im.user.list.get"
_TOO_LONG = "Б" * 500_000
Hook = Callable[[Parts], Parts]


def unreadable(user: int, *, name: str = _TOO_LONG) -> Hook:
    """The portal shows this user with a name that no topic takes, in its answer and on its pages."""

    def shown(row: Any) -> Any:
        return {**row, "name": name} if isinstance(row, Mapping) and row.get("id") == user else row

    def answered(answer: Answer) -> Answer:
        return replace(answer, result=[shown(row) for row in rows_of(answer.result)])

    class Pages:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def want(self, entity: Any, strangers: Any, unknown: Any) -> None:
            changed = [replace(one, raw=shown(one.raw)) for one in strangers]
            await self._inner.want(entity, changed, unknown)

    def hook(parts: Parts) -> Parts:
        asking, _ = answering(_METHOD, answered)
        return asking(replace(parts, strangers=Pages(parts.strangers)))  # type: ignore[no-any-return]

    return hook


async def letters(world: World) -> list[tuple[str, str, str]]:
    found = world.database.dead_letters.find({}).sort("version", 1)
    return [(doc["key"], doc["state"], doc["code"]) async for doc in found]


async def dead(world: World) -> int:
    account = await world.account("users")
    assert account.balanced, account
    return account.dead


async def row_of(world: World, user: int) -> tuple[str, str | None]:
    row = await world.database.source_inventory.find_one({"kind": "stranger", "seq": user})
    assert row is not None
    return row["state"], row.get("reason")


async def test_a_stranger_who_cannot_be_read_is_one_dead_letter_with_its_raw_form_however_often_it_is_read(
    world: World,
) -> None:
    bot = a_bot(world)
    await world.get(hook=unreadable(bot))
    key = f"source:user:{bot}"
    assert (await letters(world), await dead(world)) == ([(key, "dead", "record.too_large")], 1)
    [letter] = await world.database.dead_letters.find({}).to_list(None)
    record = await world.database.users.find_one({"_id": key})
    assert record is not None
    assert (letter["entity"], letter["copied"], letter["version"]) == ("users", True, record["version"])
    assert (record["status"], record["payload"], record["seq"]) == ("IMPORT_ERR", None, bot)
    assert await row_of(world, bot) == ("resolved", None)
    await world.get(hook=unreadable(bot))
    await world.get("users", hook=unreadable(bot))
    assert (len(await letters(world)), await dead(world)) == (1, 1)
    await world.assert_balanced()


async def test_a_stranger_who_becomes_readable_is_a_record_and_its_letter_ends(world: World) -> None:
    bot = a_bot(world)
    await world.get(hook=unreadable(bot))
    await world.get()
    assert [state for _, state, _ in await letters(world)] == ["superseded"]
    assert (await world.stored("users"))[bot]["status"] == "NEW"
    assert await dead(world) == 0
    await world.get(hook=unreadable(bot))
    assert [state for _, state, _ in await letters(world)] == ["superseded", "dead"]
    assert await dead(world) == 1


async def test_a_stranger_whose_unreadable_form_changes_has_one_living_letter(world: World) -> None:
    bot = a_bot(world)
    await world.get(hook=unreadable(bot))
    await world.get("users", hook=unreadable(bot, name=_TOO_LONG + "!"))
    assert [state for _, state, _ in await letters(world)] == ["superseded", "dead"]
    assert await dead(world) == 1


async def test_a_form_that_can_be_read_is_taken_before_one_that_cannot(world: World) -> None:
    bot = a_bot(world)

    def spoilt(answer: Answer) -> Answer:
        rows = [{**row, "name": _TOO_LONG} if row["id"] == bot else row for row in rows_of(answer.result)]
        return replace(answer, result=rows)

    hook, _ = answering(_METHOD, spoilt)
    await world.get(hook=hook)
    assert (await letters(world), await dead(world)) == ([], 0)
    assert (await world.stored("users"))[bot]["status"] == "NEW"


async def test_a_refused_stranger_whom_a_page_shows_unreadably_is_a_dead_letter_too(world: World) -> None:
    bot = a_bot(world)

    def hook(parts: Parts) -> Parts:
        refuse, _ = answering(_METHOD, lambda _: Answer(refusal=Refusal("ACCESS_DENIED", transient=False)))
        return refuse(unreadable(bot)(parts))  # type: ignore[no-any-return]

    await world.get(hook=hook)
    assert [state for _, state, _ in await letters(world)] == ["dead"]
    assert await dead(world) == 1


async def test_a_stranger_who_was_given_up_and_has_not_changed_stays_given_up(world: World) -> None:
    bot = a_bot(world)
    await world.get(hook=unreadable(bot))
    word = Word("Анна", datetime.now(UTC), "робот без имени")
    assert (await discard(world.database, Selection(), word, with_children=False)).letters == 1
    await world.get("users", hook=unreadable(bot))
    assert [state for _, state, _ in await letters(world)] == ["discarded"]
    account = await world.account("users")
    assert (account.dead, account.skipped, account.balanced) == (0, {word.skip_reason: 1}, True)
