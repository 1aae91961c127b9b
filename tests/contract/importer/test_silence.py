"""What every `Silence` has to do; time passes for real where MongoDB's clock counts it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from tests.unit.importer.fakes import FakeClock, FakeSilence

from chatferry.common.adapters.mongo import open_client, open_database
from chatferry.importer.adapters.considerate import MongoSilence


@pytest.fixture(params=["fake", pytest.param("mongo", marks=pytest.mark.integration)])
async def silence(request: pytest.FixtureRequest) -> AsyncIterator[FakeSilence | MongoSilence]:
    if request.param == "fake":
        yield FakeSilence(FakeClock())
        return
    client = open_client(request.getfixturevalue("stack").mongodb)
    database = open_database(client, f"chatferry_contract_{uuid.uuid4().hex[:8]}")
    try:
        yield MongoSilence(database)
    finally:
        await client.drop_database(database.name)
        client.close()


async def test_nobody_waits_where_nobody_was_asked_to(silence: FakeSilence | MongoSilence) -> None:
    assert await silence.left_s() == 0.0


async def test_the_longest_pause_asked_for_holds(silence: FakeSilence | MongoSilence) -> None:
    await silence.ask(500)
    await silence.ask(20)
    assert 400 < await silence.left_s() <= 500
