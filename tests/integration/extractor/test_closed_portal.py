"""Runs that read nothing ask nothing of the portal: after a migration it may be closed, its webhooks revoked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.extractor.extractor_world import World

from chatferry.common.portal.bucket import RedisRateBucket
from chatferry.common.service import Context
from chatferry.extractor.adapters.runs import MongoRuns
from chatferry.extractor.handlers import Driver, Workshop

pytestmark = pytest.mark.integration


async def driven(world: World, run: str) -> dict[str, Any]:
    """The run's document after the service's own driver has driven it to its end."""
    client, context = world.portal_client(), Context()
    shop = Workshop(
        leases=world.leases(),
        runs=MongoRuns(world.database),
        portal=lambda _: client,
        bucket=RedisRateBucket(world.redis, client.host, world.limits, world.clock, random.Random(1)),
        parts=world.parts,
        limits=world.sizes,
        lease_seconds=30,
    )
    # The world's own drives let go of nothing.
    await world.database.leases.update_many({}, {"$set": {"until": datetime.fromtimestamp(0, UTC)}})
    async with asyncio.timeout(30):
        assert await Driver(shop, context)._drive(await world.run_document(run))
    return await world.run_document(run)


async def verifier(world: World, run: str) -> None:
    """A verifier that finds everything equal."""
    async with asyncio.timeout(30):
        while (document := await world.run_document(run)).get("phase") != "verify":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    asked = document["timings"]["verify"]["started_at"]
    report = {"_id": f"{run}/1", "run": run, "asked_at": asked, "finished_at": asked, "verified": True}
    await world.database.verify_reports.insert_one(report)


async def delivered(world: World) -> None:
    """As if the importers had brought everything to the target."""
    for entity in ("users", "chats", "chat_messages"):
        await world.database[entity].update_many({"status": "NEW"}, {"$set": {"status": "IMPORT_OK"}})


async def asked(world: World, phases: Sequence[str]) -> str:
    run = await world.ask(phases=phases)
    answer = {"ok": True, "detail": "the target lets us in"}
    await world.database.runs.update_one({"_id": run}, {"$set": {"target_check": answer}})
    return run


@pytest.mark.parametrize("phases", [("verify",), ("set",), ("set", "verify")])
async def test_a_run_that_reads_nothing_ends_well_when_the_webhooks_are_revoked(
    world: World, phases: Sequence[str]
) -> None:
    migrated = await world.get()
    client = world.portal_client()
    world.portal_client = lambda limits=None: client  # type: ignore[method-assign]
    await delivered(world)
    world.running.board.revoke_webhooks(world.webhooks[0])
    before = world.running.statistics.requests.total()
    run = await asked(world, phases)
    waits = [verifier(world, run)] if "verify" in phases else []
    document, *_ = await asyncio.gather(driven(world, run), *waits)
    assert document["state"] == ("verified" if "verify" in phases else "completed"), document.get("reason")
    checks = {check["name"]: check for check in document["preflight"]}
    assert checks["auth.cloud.chats"]["ok"] is True
    assert checks["auth.cloud.chats"]["detail"] == "not asked: nothing is read from the portal in this run"
    assert document["method"] == migrated["method"], "the report says how what is compared was read"
    assert world.running.statistics.requests.total() == before


async def test_a_run_whose_get_is_over_goes_on_without_the_portal(world: World) -> None:
    """It was stopped in its Set, and is asked for again."""
    run = await asked(world, ("get", "set"))
    driving = asyncio.create_task(world.drive(run))
    async with asyncio.timeout(60):
        while (await world.run_document(run)).get("phase") != "set":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await world.database.runs.update_one({"_id": run}, {"$set": {"stop": {"reason": "…"}}})
    stopped = await driving
    assert stopped["state"] == "stopped"
    client = world.portal_client()
    world.portal_client = lambda limits=None: client  # type: ignore[method-assign]
    world.running.board.revoke_webhooks(world.webhooks[0])
    await delivered(world)
    await world.database.runs.update_one({"_id": run}, {"$set": {"state": "requested"}, "$unset": {"stop": ""}})
    document = await driven(world, run)
    assert document["state"] == "completed", document.get("reason")
    assert document["method"] == stopped["method"]


async def test_a_run_that_gets_is_blocked_by_a_revoked_webhook_still(world: World) -> None:
    client = world.portal_client()
    world.portal_client = lambda limits=None: client  # type: ignore[method-assign]
    world.running.board.revoke_webhooks(world.webhooks[0])
    document = await driven(world, await asked(world, ("get", "set", "verify")))
    assert document["state"] == "blocked"
    assert document["reason"].startswith("auth.cloud.chats: ")
