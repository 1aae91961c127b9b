"""A record that could not be read is judged by its present content: an operator's word is about that content alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.extractor.crashing import Killed
from tests.integration.extractor.extractor_world import World
from tests.integration.extractor.test_not_believed import changing

from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.entities.reading import Command
from chatferry.extractor.adapters.records import MongoRecords
from chatferry.extractor.adapters.rejects import Rejects
from chatferry.extractor.domain.records import Candidate
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
    await assert_one_letter_of_the_record(world)
    await world.assert_balanced()


async def assert_one_letter_of_the_record(world: World) -> None:
    [record] = await world.database.chat_messages.find({"status": "IMPORT_ERR"}).to_list(None)
    [letter] = await world.database.dead_letters.find({"state": "dead"}).to_list(None)
    assert (letter["key"], letter["version"], letter["hash"]) == (
        record["_id"],
        record["version"],
        record["payload_hash"],
    )


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


class BehindLetters(Rejects):
    """Something happens when dead letters are written, and their records are not."""

    def __init__(self, world: World, then: Callable[[int], Awaitable[None]]) -> None:
        super().__init__(world.database, world.clock)
        self._then = then

    async def bury(self, entity: Entity, candidates: Sequence[Candidate], version: int) -> None:
        await super().bury(entity, candidates, version)
        if any(one.payload is None for one in candidates):
            await self._then(version)


class BeforeLetters(BehindLetters):
    """The same a moment earlier: this process has looked for the records, and has not written its letters."""

    async def bury(self, entity: Entity, candidates: Sequence[Candidate], version: int) -> None:
        if any(one.payload is None for one in candidates):
            await self._then(version)
        await Rejects.bury(self, entity, candidates, version)


class Watched(MongoRecords):
    """Records whose dead letters are these."""

    def __init__(self, world: World, letters: Rejects) -> None:
        super().__init__(world.database, world.clock)
        self._letters = letters


async def killed(_: int) -> None:
    raise Killed


def cut_off_behind(world: World, date: str) -> Any:
    """A process that reads this date, and is killed when its dead letter is written and the record is not."""

    def hook(parts: Parts) -> Parts:
        records = Watched(world, BehindLetters(world, killed))
        return dated(world, date)(replace(parts, records=records))  # type: ignore[no-any-return]

    return hook


@pytest.mark.parametrize("known", [True, False])
async def test_a_process_killed_behind_a_dead_letter_leaves_one_that_is_the_records(world: World, known: bool) -> None:
    """The letter of the read that was cut off is older than the record that the next read stores."""
    if known:
        await world.get(hook=dated(world, FIRST))
    run = await world.ask()
    with pytest.raises(Killed):
        await world.drive(run, cut_off_behind(world, SECOND))
    await world.drive(run, dated(world, SECOND))
    assert await states(world) == [*["superseded"] * (1 + known), "dead"]
    await assert_dead_with_its_letter(world)


@pytest.mark.parametrize("known", [True, False])
async def test_a_letter_whose_record_was_mended_before_it_was_stored_ends_with_the_next_read(
    world: World, known: bool
) -> None:
    """What is read then is new, or what was stored all the time: no content has changed, the letter is nobody's."""
    if known:
        await world.get()
    run = await world.ask()
    with pytest.raises(Killed):
        await world.drive(run, cut_off_behind(world, SECOND))
    assert await states(world) == ["dead"]
    await world.drive(run)
    assert await states(world) == ["superseded"]
    assert await world.database.chat_messages.count_documents({"status": "IMPORT_ERR"}) == 0
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()


async def test_a_letter_of_a_form_that_was_never_stored_ends_and_that_of_the_stored_one_stays(world: World) -> None:
    await world.get(hook=dated(world, FIRST))
    run = await world.ask()
    with pytest.raises(Killed):
        await world.drive(run, cut_off_behind(world, SECOND))
    assert await states(world) == ["dead", "dead"]
    await world.drive(run, dated(world, FIRST))
    assert await states(world) == ["dead", "superseded"]
    await assert_dead_with_its_letter(world)


async def test_a_word_of_an_operator_outlives_the_letter_of_a_form_that_was_never_stored(world: World) -> None:
    await world.get(hook=dated(world, FIRST))
    await give_up(world)
    run = await world.ask()
    with pytest.raises(Killed):
        await world.drive(run, cut_off_behind(world, SECOND))
    await world.drive(run, dated(world, FIRST))
    assert await states(world) == ["discarded", "superseded"]
    assert await world.database.chat_messages.count_documents({"status": "SKIPPED"}) == 1
    await world.assert_balanced()


MESSAGE = ENTITIES["chat_messages"]


def read_as(text: str | None) -> Candidate:
    """A message as a read sees it; None: as a row that cannot be read."""
    key, payload = MESSAGE.key(7), None if text is None else {"text": text}
    code = "record.unreadable" if text is None else None
    return Candidate(key, 7, 1, payload, f"hash of {text}", (), code, b"{}" if text is None else None)


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("moment", [BeforeLetters, BehindLetters])
async def test_a_late_process_leaves_no_letter_of_a_record_that_another_has_read_well_since(
    world: World, stored: bool, moment: type[BehindLetters]
) -> None:
    async def overtaken(version: int) -> None:
        await records.save(MESSAGE, [read_as("now")], version + 1, fresh=False)

    records = MongoRecords(world.database, world.clock)
    if stored:
        await records.save(MESSAGE, [read_as("before")], 1, fresh=False)
    late = Watched(world, moment(world, overtaken))
    await late.save(MESSAGE, [read_as(None)], 2, fresh=False)
    assert await states(world) == ["superseded"]
    record = await world.database.chat_messages.find_one({"_id": MESSAGE.key(7)})
    assert record is not None
    assert (record["version"], record["status"]) == (3, "NEW")


@pytest.mark.parametrize("then", ["at once", "with the next read"])
async def test_a_record_that_a_late_process_stores_as_unreadable_after_all_has_its_living_letter(
    world: World, then: str
) -> None:
    """The other process found what was stored, so it wrote no version that could stop the late one."""

    async def overtaken(version: int) -> None:
        await records.save(MESSAGE, [read_as("before")], version + 1, fresh=False)
        assert await states(world) == ["superseded"]

    class Interrupted(BehindLetters):
        async def revive(self, entity: Entity, keys: Sequence[str]) -> None:
            if then == "with the next read":
                raise Killed
            await super().revive(entity, keys)

    records = MongoRecords(world.database, world.clock)
    await records.save(MESSAGE, [read_as("before")], 1, fresh=False)
    late = Watched(world, Interrupted(world, overtaken))
    with suppress(Killed):
        await late.save(MESSAGE, [read_as(None)], 2, fresh=False)
    if then == "with the next read":
        await records.save(MESSAGE, [read_as(None)], 4, fresh=False)
    assert await states(world) == ["dead"]
    await assert_one_letter_of_the_record(world)
    await records.save(MESSAGE, [read_as("before")], 5, fresh=False)
    assert await states(world) == ["superseded"]


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
