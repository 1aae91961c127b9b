"""One catalogue under test, by its ports: the one in MongoDB, and the one in memory that tests are built on."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from tests.contract.participants.fake_catalogue import FakeCatalogue

from chatferry.common.adapters.mongo import open_client, open_database
from chatferry.common.clock import SystemClock
from chatferry.participants.adapters.mongo_catalogue import MongoCatalogue, MongoOutbox
from chatferry.participants.adapters.mongo_entries import prepare
from chatferry.participants.adapters.mongo_max_side import MongoMaxSide
from chatferry.participants.adapters.mongo_memory import MongoMemory
from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import ChatId, Count, Mark, MaxChatId, Stamp
from chatferry.participants.ports import Catalogue, MaxSide, Memory, Outbox, SourceChat, Told

CHAT, OTHER = ChatId(2), ChatId(3)
MAX, OTHER_MAX = MaxChatId(-(2**62)), MaxChatId(-77)
OWN = ChatId(MAX)
SOURCE = SourceChat(CHAT, 5, "$title", 1_000, 4)


@dataclass
class Kept:
    """One catalogue, by its ports."""

    catalogue: Catalogue
    max_side: MaxSide
    outbox: Outbox
    memory: Memory
    since: int = 0

    async def changed(self, most: int = 100) -> list[Entry]:
        """All that has changed since the last time."""
        found: list[Entry] = []
        while True:
            entries, self.since = await self.catalogue.changed(self.since, most)
            found += entries
            if len(entries) < most:
                return found

    async def entry(self, chat: ChatId) -> Entry | None:
        """One chat, as it is listed."""
        entries, _ = await self.catalogue.changed(0, 1_000)
        return next((entry for entry in entries if entry.id == chat), None)

    async def known(self, chat: ChatId) -> Entry:
        found = await self.entry(chat)
        assert found is not None
        return found


@pytest.fixture(params=["memory", pytest.param("mongodb", marks=pytest.mark.integration)])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    if request.param == "memory":
        fake = FakeCatalogue()
        yield Kept(fake, fake, fake, fake)
        return
    client = open_client(request.getfixturevalue("stack").mongodb)
    database = open_database(client, f"chatferry_contract_{uuid.uuid4().hex[:8]}")
    catalogue = MongoCatalogue(database)
    try:
        await prepare(database)
        yield Kept(catalogue, MongoMaxSide(database, SystemClock()), MongoOutbox(database), MongoMemory(database))
    finally:
        await catalogue.close()
        await client.drop_database(database.name)
        client.close()


def read(count: int, started_ms: int, epoch: int = 1, mark: Mark = Mark.CONFIRMED) -> Count:
    return Count(count, mark, Stamp(epoch, started_ms))


async def counted(kept: Kept, count: int = 10, started_ms: int = 100) -> None:
    await kept.max_side.arrived(MAX, "of MAX")
    await kept.max_side.note(OWN, Told(count=read(count, started_ms), trusted=True))
