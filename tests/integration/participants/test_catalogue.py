"""The catalogue on a real MongoDB: no change is passed over, whoever writes at the same time, and no place is final."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from chatferry.common.adapters.mongo import Database, Document, OperationFailure, open_client, open_database
from chatferry.common.clock import SystemClock
from chatferry.common.errors import OutageError
from chatferry.participants.adapters.mongo_catalogue import MongoCatalogue
from chatferry.participants.adapters.mongo_entries import CHATS, prepare, reachable
from chatferry.participants.adapters.mongo_max_side import MongoMaxSide
from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import ChatId, Count, Mark, MaxChatId, Stamp
from chatferry.participants.ports import MaxChatTakenError, SourceChat, Told
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
_HISTORY_LOST = 286


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = open_client(stack.mongodb)
    database = open_database(client, f"chatferry_participants_{uuid.uuid4().hex[:8]}")
    try:
        await prepare(database)
        yield database
    finally:
        await client.drop_database(database.name)
        client.close()


@pytest.fixture
async def catalogue(database: Database) -> AsyncIterator[MongoCatalogue]:
    catalogue = MongoCatalogue(database)
    yield catalogue
    await catalogue.close()


def _source(chat: int, version: int = 1) -> SourceChat:
    return SourceChat(ChatId(chat), version, f"chat {chat}", None, 3)


def _read(count: int, started_ms: int) -> Count:
    return Count(count, Mark.CONFIRMED, Stamp(1, started_ms))


async def _kill_cursors(database: Database) -> int:
    """As a restart of the server, or ten minutes without a question, would."""
    idle: list[Document] = [{"$currentOp": {"idleCursors": True}}, {"$match": {"ns": f"{database.name}.{CHATS}"}}]
    ids = [one["cursor"]["cursorId"] async for one in database.client.admin.aggregate(idle) if "cursor" in one]
    await database.command({"killCursors": CHATS, "cursors": ids})
    return len(ids)


async def _follow(catalogue: MongoCatalogue, known: dict[ChatId, Entry], done: asyncio.Event) -> int:
    """Take in what changes until it is done and told; how often something was told."""
    since = told = 0
    while True:
        last = done.is_set()
        entries, since = await catalogue.changed(since, 20)
        told += len(entries)
        known.update((entry.id, entry) for entry in entries)
        if last and not entries:
            return told


async def test_many_writers_at_once_and_every_reader_ends_with_what_is_there(database: Database) -> None:
    chats = [MaxChatId(-number) for number in range(1, 41)]
    readers = [MongoCatalogue(database) for _ in range(3)]
    seen: list[dict[ChatId, Entry]] = [{} for _ in readers]
    done = asyncio.Event()

    async def write(seed: int) -> None:
        chance = random.Random(seed)
        side, source = MongoMaxSide(database, SystemClock()), MongoCatalogue(database)
        for turn in range(40):
            chat = chance.choice(chats)
            await side.arrived(chat, None)
            await side.note(ChatId(chat), Told(count=_read(chance.randrange(1_000), turn * 8 + seed)))
            await source.note_sources([_source(chance.randrange(1, 40), turn) for _ in range(5)])
            if chance.random() < 0.2:
                with suppress(MaxChatTakenError):
                    await side.link(ChatId(chance.randrange(1, 40)), chance.choice([*chats, None, None]))

    following = [asyncio.create_task(_follow(reader, known, done)) for reader, known in zip(readers, seen, strict=True)]
    await asyncio.gather(*(write(seed) for seed in range(8)))
    done.set()
    await asyncio.gather(*following)
    there = {entry.id: entry for entry in (await readers[0].changed(0, 1_000))[0]}
    assert len(there) > 60
    for known in seen:
        assert known == there
    for reader in readers:
        await reader.close()


async def test_a_count_that_was_written_before_moves_were_counted_has_none(
    database: Database, catalogue: MongoCatalogue
) -> None:
    side, own, count = MongoMaxSide(database, SystemClock()), ChatId(-1), _read(5, 100)
    await side.arrived(MaxChatId(-1), None)
    await side.note(own, Told(count=count))
    await database[CHATS].update_one({"_id": own}, {"$unset": {"count.moves": ""}})
    [entry] = (await catalogue.by_max_chat([MaxChatId(-1)])).values()
    assert entry.counted == count
    noted = await side.note(own, Told(count=replace(count, count=6, mark=Mark.PROVISIONAL, moves=1)))
    assert noted is not None
    assert noted.count.count == 6


async def test_a_write_that_commits_after_later_ones_is_told(database: Database, catalogue: MongoCatalogue) -> None:
    await catalogue.note_sources([_source(1), _source(2)])
    _, since = await catalogue.changed(0, 10)
    async with await database.client.start_session() as session, session.start_transaction():
        await database[CHATS].update_one({"_id": 1}, {"$set": {"activity": 5}}, session=session)
        await catalogue.note_activity({ChatId(2): 6})
        entries, since = await catalogue.changed(since, 10)
        assert [(entry.id, entry.activity_ms) for entry in entries] == [(2, 6)]
    entries, since = await catalogue.changed(since, 10)
    assert [(entry.id, entry.activity_ms) for entry in entries] == [(1, 5)]


async def test_a_place_is_good_for_another_process_and_after_the_cursor_has_died(
    database: Database, catalogue: MongoCatalogue
) -> None:
    await catalogue.note_sources([_source(1)])
    _, since = await catalogue.changed(0, 10)
    await catalogue.changed(since, 10)
    assert await _kill_cursors(database) == 1
    await catalogue.note_activity({ChatId(1): 5})
    other = MongoCatalogue(database)
    for reader in (catalogue, other, catalogue):
        entries, _ = await reader.changed(since, 10)
        assert [entry.activity_ms for entry in entries] == [5]
    await other.close()


class _Forgetful:
    """The database, whose log has lost the place that it is asked about; a log takes gigabytes to do so by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def __getitem__(self, name: str) -> Any:
        return self._database[name]

    async def command(self, asked: Document, **more: Any) -> Any:
        if "resumeAfter" in str(asked):
            raise OperationFailure("Resume of change stream was not possible", _HISTORY_LOST)
        return await self._database.command(asked, **more)


async def test_where_the_log_no_longer_has_the_place_all_chats_are_told_anew(
    database: Database, catalogue: MongoCatalogue
) -> None:
    await catalogue.note_sources([_source(1), _source(2)])
    _, since = await catalogue.changed(0, 10)
    forgetful = MongoCatalogue(_Forgetful(database))  # type: ignore[arg-type]
    entries, since = await forgetful.changed(since, 10)
    assert [entry.id for entry in entries] == [1, 2]
    assert (await forgetful.changed(since, 10))[0] == []
    await forgetful.close()


async def test_a_collection_that_was_dropped_is_told_from_its_new_beginning(
    database: Database, catalogue: MongoCatalogue
) -> None:
    await catalogue.note_sources([_source(1), _source(2)])
    _, since = await catalogue.changed(0, 10)
    await database.drop_collection(CHATS)
    await catalogue.note_sources([_source(3)])
    found: set[int] = set()
    for _ in range(10):
        entries, since = await catalogue.changed(since, 10)
        found |= {entry.id for entry in entries}
    assert found == {3}


async def test_a_thousand_records_at_once_are_written_and_told_in_order_of_their_versions(
    catalogue: MongoCatalogue,
) -> None:
    await asyncio.gather(
        *(catalogue.note_sources([_source(number, version) for number in range(1_000)]) for version in (3, 1, 2)),
        catalogue.note_activity({ChatId(number): number for number in range(1_000)}),
    )
    entries, _ = await catalogue.changed(0, 2_000)
    assert [entry.id for entry in entries] == list(range(1_000))
    assert [entry.activity_ms for entry in entries] == list(range(1_000))


async def test_of_several_that_link_the_same_chat_of_max_one_is_answered_that_it_has_it(database: Database) -> None:
    catalogue, side = MongoCatalogue(database), MongoMaxSide(database, SystemClock())
    await catalogue.note_sources([_source(number) for number in range(1, 9)])
    outcomes = await asyncio.gather(
        *(side.link(ChatId(number), MaxChatId(-5)) for number in range(1, 9)),
        *(side.arrived(MaxChatId(-5), "of MAX") for _ in range(8)),
        return_exceptions=True,
    )
    refused = [one for one in outcomes[:8] if isinstance(one, MaxChatTakenError)]
    assert len(refused) == 7
    assert not any(isinstance(one, BaseException) for one in outcomes[8:])
    entries, _ = await catalogue.changed(0, 100)
    assert [entry.max_chat for entry in entries if entry.max_chat is not None] == [-5]


async def test_a_database_that_is_away_is_an_outage() -> None:
    client = open_client("mongodb://127.0.0.1:9/?replicaSet=rs0", timeout_ms=200)
    database = open_database(client, "away")
    catalogue, side = MongoCatalogue(database), MongoMaxSide(database, SystemClock())
    for asked in (
        catalogue.changed(0, 10),
        catalogue.by_max_chat([MaxChatId(-1)]),
        catalogue.note_activity({ChatId(1): 1}),
        side.link(ChatId(1), MaxChatId(-1)),
        side.arrived(MaxChatId(-1), None),
        reachable(database),
    ):
        with pytest.raises(OutageError, match="MongoDB"):
            await asked
    client.close()
