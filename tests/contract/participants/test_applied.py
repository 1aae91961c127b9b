"""What every note of how far the portal's topics were applied has to do."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field

import pytest

from chatferry.common.adapters.mongo import open_client, open_database
from chatferry.common.streaming.records import Partition
from chatferry.participants.adapters.mongo_applied import MongoApplied
from chatferry.participants.applying import Applied

ONE, TWO = Partition("p.chats", 0), Partition("p.chat_messages", 11)


@dataclass
class FakeApplied:
    """In memory."""

    name: str = "r0"
    offsets: dict[Partition, int] = field(default_factory=dict)
    began: int = 0

    async def reading(self) -> str:
        return self.name

    async def reached(self, reading: str, partitions: Collection[Partition]) -> dict[Partition, int]:
        there = self.offsets if reading == self.name else {}
        return {one: there[one] for one in partitions if one in there}

    async def note(self, reading: str, before: Mapping[Partition, int], now: Mapping[Partition, int]) -> bool:
        if reading != self.name or any(self.offsets.get(one, -1) < offset for one, offset in before.items()):
            return False
        self.offsets |= {one: max(offset, self.offsets.get(one, 0)) for one, offset in now.items()}
        return True

    async def begin_anew(self, reading: str) -> None:
        if reading == self.name:
            self.began += 1
            self.name, self.offsets = f"r{self.began}", {}


@pytest.fixture(params=["memory", pytest.param("mongodb", marks=pytest.mark.integration)])
async def applied(request: pytest.FixtureRequest) -> AsyncIterator[Applied]:
    if request.param == "memory":
        yield FakeApplied()
        return
    client, names = open_client(request.getfixturevalue("stack").mongodb), itertools.count()
    database = open_database(client, f"chatferry_contract_{uuid.uuid4().hex[:8]}")
    try:
        yield MongoApplied(database, lambda: f"r{next(names)}")
    finally:
        await client.drop_database(database.name)
        client.close()


async def test_the_name_of_a_reading_stays_until_it_is_begun_anew(applied: Applied) -> None:
    first = await applied.reading()
    assert await applied.reading() == first
    await applied.begin_anew(first)
    second = await applied.reading()
    assert second != first
    await applied.begin_anew(first)
    assert await applied.reading() == second, "somebody else has begun it anew already"


async def test_what_was_noted_is_known_and_is_never_less(applied: Applied) -> None:
    reading = await applied.reading()
    assert await applied.reached(reading, [ONE, TWO]) == {}
    assert await applied.note(reading, {}, {ONE: 5})
    assert await applied.note(reading, {}, {ONE: 3, TWO: 1})
    assert await applied.reached(reading, [ONE, TWO, Partition("p.chats", 1)]) == {ONE: 5, TWO: 1}
    assert await applied.reached("another", [ONE]) == {}


async def test_what_knows_less_than_it_did_takes_no_note(applied: Applied) -> None:
    reading = await applied.reading()
    assert await applied.note(reading, {}, {ONE: 5})
    assert await applied.note(reading, {ONE: 4}, {ONE: 6}), "another replica may have noted more"
    assert not await applied.note(reading, {ONE: 7}, {ONE: 8})
    assert not await applied.note(reading, {TWO: 1}, {TWO: 2})
    assert await applied.reached(reading, [ONE, TWO]) == {ONE: 6}


async def test_a_reading_that_was_begun_anew_has_reached_nothing_and_the_former_takes_no_note(applied: Applied) -> None:
    former = await applied.reading()
    await applied.note(former, {}, {ONE: 5})
    await applied.begin_anew(former)
    assert await applied.reached(await applied.reading(), [ONE]) == {}
    assert not await applied.note(former, {}, {ONE: 6})
