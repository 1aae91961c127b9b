"""The stores under test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.simulation.stores import SimulatedRecords, Store
from tests.simulation.waiting import SimulatedDeadLetters, SimulatedParked
from tests.unit.importer.fakes import FakeDeadLetters, FakeParked, FakeRecords, FakeStore

from chatferry.common.adapters.mongo import Database
from chatferry.importer.adapters.mongo_records import MongoRecords
from chatferry.importer.adapters.mongo_waiting import MongoDeadLetters, MongoParked


@dataclass
class Stores:
    """Real ones or fakes."""

    records: FakeRecords | SimulatedRecords | MongoRecords
    parked: FakeParked | SimulatedParked | MongoParked
    dead: FakeDeadLetters | SimulatedDeadLetters | MongoDeadLetters
    fake: FakeStore | Store | None = None
    database: Database | None = None

    async def add(self, key: str, version: int) -> None:
        """What the extractor writes."""
        if self.fake is not None:
            self.fake.add(key, version)
        if self.database is not None:
            content = {"version": version, "status": "NEW", "payload_hash": f"hash of {version}"}
            await self.database.chat_messages.update_one({"_id": key}, {"$set": content}, upsert=True)

    async def document(self, key: str) -> dict[str, Any]:
        """The record's document."""
        if self.fake is not None:
            return dict(self.fake.documents[key])
        assert self.database is not None
        found = await self.database.chat_messages.find_one({"_id": key}, {"_id": 0})
        assert found is not None
        return dict(found)

    async def replaying(self, place: str) -> None:
        """What the operator writes before a dead letter is sent again."""
        if self.fake is not None:
            self.fake.dead[place]["state"] = "replaying"
        if self.database is not None:
            await self.database.dead_letters.update_one({"_id": place}, {"$set": {"state": "replaying"}})

    async def dead_states(self) -> dict[str, str]:
        """State of each dead letter by place."""
        if self.fake is not None:
            return {place: row["state"] for place, row in self.fake.dead.items()}
        assert self.database is not None
        return {row["_id"]: row["state"] async for row in self.database.dead_letters.find({})}
