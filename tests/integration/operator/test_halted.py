"""What asking for a run takes back: a halt of too many dead letters, and an old report of a run that was stopped."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.integration.importer.world import a_world
from tests.integration.operator.dlq_world import Desk, desk_of

from chatferry.operator.dlq.delivery import halted
from chatferry.operator.runs import Options, Store
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


@pytest.fixture
async def desk(stack: Addresses, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_world(stack, f"halt-{uuid.uuid4().hex[:8]}") as world:
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(world.topic("commands"), 1, 1)])
            yield desk_of(world, tmp_path)
            await admin.delete_topics([world.topic("commands")])
        finally:
            await admin.close()


async def test_only_a_set_takes_the_halt_back_for_its_family_and_those_it_needs(desk: Desk) -> None:
    for family in ("users", "chats"):
        halt = {"$set": {"halted": f"too many {family} died"}}
        await desk.world.database.entities.update_one({"_id": family}, halt, upsert=True)
    store = Store(desk.folder.load())
    try:
        for family, options, left in (
            ("chats", Options(("get",)), {"users", "chats"}),
            ("chats", Options(("verify",)), {"users", "chats"}),
            ("users", Options(), {"chats"}),
            ("chats", Options(("set",)), set[str]()),
        ):
            await store.ask(family, options)
            assert set(await halted(store.database)) == left
            await store.database.runs.delete_many({})
    finally:
        store.close()


async def test_a_run_that_was_stopped_while_it_verified_is_verified_anew(desk: Desk) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    over = {"started_at": moment, "finished_at": moment}
    store = Store(desk.folder.load())
    try:
        run = await store.ask("chats", Options())
        stopped = {"state": "stopped", "timings": {"get": over, "set": over, "verify": {"started_at": moment}}}
        await store.database.runs.update_one({"_id": run}, {"$set": stopped})
        assert await store.ask("chats", Options()) == run
        # The verifier may have written its report before the stop was heard: it says what was there then.
        assert set((await store.run(run))["timings"]) == {"get", "set"}
    finally:
        store.close()
