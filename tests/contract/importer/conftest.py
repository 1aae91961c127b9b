"""Each port three times: in memory for unit tests and for the simulation, and on a real MongoDB."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.contract.importer.stores import Stores
from tests.simulation.stores import Effects, SimulatedRecords, Store
from tests.simulation.waiting import SimulatedDeadLetters, SimulatedParked
from tests.unit.importer.fakes import FakeClock, FakeDeadLetters, FakeParked, FakeRecords, FakeStore

from chatferry.common.adapters.mongo import open_client, open_database
from chatferry.common.documents import create_indexes
from chatferry.importer.adapters.mongo_records import MongoRecords
from chatferry.importer.adapters.mongo_waiting import MongoDeadLetters, MongoParked


async def _at_once(of: tuple[str, str], effects: Effects, refuse: Callable[[], Exception]) -> Any:
    """Every request takes effect and is answered."""
    del of, refuse
    return [effect() for effect in effects][-1]


@pytest.fixture(params=["fake", "simulated", pytest.param("mongo", marks=pytest.mark.integration)])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """The ports, and how a document gets there."""
    if request.param == "fake":
        store = FakeStore()
        yield Stores(FakeRecords(store), FakeParked(store), FakeDeadLetters(store), fake=store)
        return
    if request.param == "simulated":
        simulated = Store()
        yield Stores(
            SimulatedRecords(simulated, _at_once),
            SimulatedParked(simulated, _at_once),
            SimulatedDeadLetters(simulated, _at_once),
            fake=simulated,
        )
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
