"""Each port twice: in memory, and on a real MongoDB."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from tests.contract.importer.stores import Stores
from tests.unit.importer.fakes import FakeClock, FakeDeadLetters, FakeParked, FakeRecords, FakeStore

from chatferry.common.adapters.mongo import open_client, open_database
from chatferry.common.documents import create_indexes
from chatferry.importer.adapters.mongo_records import MongoRecords
from chatferry.importer.adapters.mongo_waiting import MongoDeadLetters, MongoParked


@pytest.fixture(params=["fake", pytest.param("mongo", marks=pytest.mark.integration)])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """The ports, and how a document gets there."""
    if request.param == "fake":
        store = FakeStore()
        yield Stores(FakeRecords(store), FakeParked(store), FakeDeadLetters(store), fake=store)
        return
    client = open_client(request.getfixturevalue("stack").mongodb)
    database = open_database(client, f"chatferry_contract_{uuid.uuid4().hex[:8]}")
    try:
        await create_indexes(database)
        parked = MongoParked(database)
        yield Stores(MongoRecords(database), parked, MongoDeadLetters(database, "p", FakeClock()), database=database)
    finally:
        await client.drop_database(database.name)
        client.close()
