"""A record that could not be read is judged by its present content: an operator's word is about that content alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.extractor.crashing import Killed
from tests.integration.extractor.extractor_world import World
from tests.integration.extractor.test_not_believed import changing

from chatferry.common.entities.reading import Command
from chatferry.extractor.adapters.records import MongoRecords
from chatferry.extractor.steps.parts import Parts
from chatferry.operator.dlq.discard import Word, discard
from chatferry.operator.dlq.selection import Selection

pytestmark = pytest.mark.integration
FIRST, SECOND = "2024-02-30T10:00:00+03:00", "2024-02-31T10:00:00+03:00"


def largest(world: World) -> int:
    return max(world.portal.chats.values(), key=lambda chat: len(chat.log)).id


def dated(world: World, date: str) -> Any:
    """One message of the largest chat has this date, which does not exist."""
    number = list(world.truth(largest(world)))[3]

    def change(_: Command, result: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = result.get("messages")
        if rows is None:
            return result
        return {**result, "messages": [{**row, "date": date} if row["id"] == number else row for row in rows]}

    return changing(change)


async def states(world: World) -> list[str]:
    """Of the record's dead letters, oldest first."""
    return [doc["state"] async for doc in world.database.dead_letters.find({}).sort("version", 1)]


async def assert_dead_with_its_letter(world: World) -> None:
    """The record's present version has the one letter that an operator can end."""
    [record] = await world.database.chat_messages.find({"status": "IMPORT_ERR"}).to_list(None)
    [letter] = await world.database.dead_letters.find({"state": "dead"}).to_list(None)
    assert (letter["key"], letter["version"], letter["hash"]) == (
        record["_id"],
        record["version"],
        record["payload_hash"],
    )
    await world.assert_balanced()


async def give_up(world: World) -> None:
    word = Word("Анна", datetime.now(UTC), "испорчено")
    assert (await discard(world.database, Selection(), word, with_children=False)).letters == 1
    assert await world.database.chat_messages.count_documents({"status": "SKIPPED"}) == 1
    await world.assert_balanced()


async def test_what_was_discarded_and_has_not_changed_stays_discarded(world: World) -> None:
    await world.get(hook=dated(world, FIRST))
    await give_up(world)
    await world.get(hook=dated(world, FIRST))
    assert await states(world) == ["discarded"]
    assert await world.database.chat_messages.count_documents({"status": "SKIPPED"}) == 1
    await world.assert_balanced()


async def test_each_newer_content_of_what_was_discarded_is_a_dead_letter_of_its_own(world: World) -> None:
    await world.get(hook=dated(world, FIRST))
    await give_up(world)
    await world.get(hook=dated(world, SECOND))
    assert await states(world) == ["discarded", "dead"]
    await assert_dead_with_its_letter(world)
    await give_up(world)
    # As it was at first: that, too, is newer than what was given up last.
    await world.get(hook=dated(world, FIRST))
    assert await states(world) == ["discarded", "discarded", "dead"]
    await assert_dead_with_its_letter(world)
    await give_up(world)
    await world.get()
    assert await states(world) == ["discarded"] * 3
    await world.assert_equal_to_the_portal()


async def test_a_content_that_comes_back_before_anybody_gave_it_up_is_dead_with_a_letter(world: World) -> None:
    await world.get(hook=dated(world, FIRST))
    await give_up(world)
    await world.get(hook=dated(world, SECOND))
    await world.get(hook=dated(world, FIRST))
    assert await states(world) == ["discarded", "superseded", "dead"]
    await assert_dead_with_its_letter(world)


class DyingBehindLetters(MongoRecords):
    """Killed when the dead letters are written and the records are not."""

    async def _bury_rejects(self, entity: Any, candidates: Any, version: int) -> None:
        candidates = list(candidates)
        await super()._bury_rejects(entity, candidates, version)
        if any(one.payload is None for one in candidates):
            raise Killed


@pytest.mark.parametrize("known", [True, False])
async def test_a_process_killed_behind_a_dead_letter_leaves_one_that_is_the_records(world: World, known: bool) -> None:
    """The letter of the read that was cut off is older than the record that the next read stores."""

    def cut_off(parts: Parts) -> Parts:
        records = DyingBehindLetters(world.database, world.clock)
        return dated(world, SECOND)(replace(parts, records=records))  # type: ignore[no-any-return]

    if known:
        await world.get(hook=dated(world, FIRST))
    run = await world.ask()
    with pytest.raises(Killed):
        await world.drive(run, cut_off)
    await world.drive(run, dated(world, SECOND))
    assert await states(world) == [*["superseded"] * (1 + known), "dead"]
    await assert_dead_with_its_letter(world)


async def test_a_page_that_is_stored_twice_makes_no_second_letter(world: World) -> None:
    """As after a kill between the records and the walk's position."""

    class Twice:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def save(self, entity: Any, candidates: Any, version: int, **how: Any) -> Any:
            await self._inner.save(entity, candidates, version, **how)
            return await self._inner.save(entity, candidates, version + 1, **how)

    await world.get(hook=lambda parts: dated(world, FIRST)(replace(parts, records=Twice(parts.records))))
    assert await states(world) == ["dead"]
    await assert_dead_with_its_letter(world)
