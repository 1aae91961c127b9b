"""How the verifier works: beside the import, through outages, and never two at one run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from starlette.responses import Response
from tests.integration.verifier.fake_target import FakeTarget
from tests.integration.verifier.verifier_world import RUN, World, message, until

from chatferry.common.adapters.mongo import Document
from chatferry.common.contracts.events import PhaseCompleted
from chatferry.verifier.adapters.runs import MongoLeases

pytestmark = pytest.mark.integration


async def verdicts(world: World) -> int:
    return await world.database["verify_verdicts"].count_documents({"report": RUN})


async def to_verify(world: World) -> None:
    await world.database["runs"].update_one({"_id": RUN}, {"$set": {"phase": "verify"}})


async def test_chats_that_are_complete_are_compared_beside_the_set_and_not_again(
    world: World, fake: FakeTarget
) -> None:
    await world.fill()
    await world.ask(phase="set")

    async def all_compared() -> bool:
        return await verdicts(world) == 4

    async with world.at_work():
        await until(all_compared)
        early = dict(fake.listed)
        await world.records("chat_messages", [message(900_000, 102, 1, "late")])
        await world.walked_again(102)
        await to_verify(world)
        report = await world.report()
    again = {name for name, count in fake.listed.items() if name.startswith("chat_") and count > early.get(name, 0)}
    assert report["reasons"] == []
    assert again == {"chat_messages source:chat:102"}
    assert report["full"]["compared"] == 4 + 9 + report["counts"]["chat_messages"]["source"]


async def test_a_chat_with_waiting_messages_is_left_until_they_are_imported(world: World) -> None:
    await world.fill()
    late = [message(900_000, 102, 1, "late")]
    await world.records("chat_messages", late, at_target=False)
    await world.ask(phase="set")

    async def others_compared() -> bool:
        return await verdicts(world) == 3

    async with world.at_work():
        await until(others_compared)
        assert await world.database["verify_verdicts"].count_documents({"key": "source:chat:102"}) == 0
        stored = await world.database["chat_messages"].find({"seq": 900_000}).to_list(1)
        await world.send("chat_messages", stored)
        done = {"status": "IMPORT_OK", "imported_version": stored[0]["version"]}
        await world.database["chat_messages"].update_one({"seq": 900_000}, {"$set": done})

        async def all_compared() -> bool:
            return await verdicts(world) == 4

        await until(all_compared)


async def test_a_target_that_is_away_is_waited_for_and_is_no_mismatch(world: World, fake: FakeTarget) -> None:
    await world.fill()
    away = True
    fake.fault = lambda _method, _body: Response(status_code=503) if away else None
    await world.ask()

    async def outage_seen() -> bool:
        return "target" in world.context.health.outages

    async with world.at_work():
        await until(outage_seen)
        assert await world.database["verify_reports"].count_documents({}) == 0
        away = False
        report = await world.report()
    assert report["reasons"] == []
    assert await world.mismatches() == []
    assert "target" not in world.context.health.outages


async def test_a_refused_secret_is_said_and_waited_out(world: World, fake: FakeTarget) -> None:
    await world.fill()
    fake.fault = lambda _method, _body: Response(status_code=401)
    await world.ask()

    async def said() -> bool:
        return "CHATFERRY_TARGET_URL" in world.context.health.outages.get("target", "")

    async with world.at_work():
        await until(said)
    assert await world.database["verify_reports"].count_documents({}) == 0


@pytest.mark.parametrize(
    "answer",
    [
        Response(status_code=500),
        Response(status_code=400),
        Response(b"<html>"),
        Response(b'{"items": [{"key": 5}], "next": null}'),
        Response(b'{"items": [], "next": "same"}'),
    ],
)
async def test_one_list_that_cannot_be_read_is_a_mismatch_and_no_outage(
    world: World, fake: FakeTarget, answer: Response
) -> None:
    await world.fill()

    def broken(method: str, body: dict[str, Any]) -> Response | None:
        return answer if method == "list" and body.get("parent") == "source:chat:103" else None

    fake.fault = broken
    report = await world.verified()
    assert report["verified"] is False
    assert [row["key"] for row in await world.mismatches(check="read_back")] == ["source:chat:103"]
    assert report["full"]["different"] == 0


async def test_a_report_is_written_once_and_a_new_request_of_the_run_gets_a_new_one(world: World) -> None:
    await world.fill()
    first = await world.verified()
    async with world.at_work():
        later = {"timings.verify.started_at": first["finished_at"]}
        await world.database["runs"].update_one({"_id": RUN}, {"$set": later})
        second = await world.report(f"{RUN}:2")
    assert second["asked_at"] != first["asked_at"]
    assert second["verified"] is True
    assert await world.database["verify_reports"].count_documents({"run": RUN}) == 2


async def test_an_edit_after_a_verified_run_is_found_by_a_run_that_only_verifies(
    world: World, fake: FakeTarget
) -> None:
    await world.fill()
    assert (await world.verified())["verified"] is True
    await world.database["runs"].update_one({"_id": RUN}, {"$set": {"state": "verified"}})
    key = fake.keys("chat_messages", "source:chat:101")[0]
    fake.edit("chat_messages", key)["text"] += "!"
    report = await world.verified("run-2")
    assert report["verified"] is False
    assert [(row["key"], row["field"]) for row in report["mismatches"] if row["check"] == "content"] == [(key, "text")]


async def test_two_verifiers_never_work_on_one_run(world: World, fake: FakeTarget) -> None:
    await world.fill()
    await world.ask()
    async with world.at_work(), world.at_work():
        await world.report()
        await asyncio.sleep(0)
    assert fake.listed["users None"] == -(-9 // world.settings.verify_page)


async def test_a_lease_is_taken_over_only_after_its_end(world: World) -> None:
    one, other = MongoLeases(world.database, "one", 60), MongoLeases(world.database, "other", 60)
    assert await one.take(RUN)
    assert await one.take(RUN)
    assert not await other.take(RUN)
    await world.database["leases"].update_one(
        {"_id": f"verify:{RUN}"}, [{"$set": {"until": {"$subtract": ["$$NOW", 1]}}}]
    )
    assert await other.take(RUN)
    assert not await one.take(RUN)
    await one.release(RUN)
    assert not await one.take(RUN)
    await other.release(RUN)
    assert await one.take(RUN)


async def test_what_a_dead_verifier_left_is_taken_up(world: World, fake: FakeTarget) -> None:
    await world.fill()
    await world.ask(phase="set")

    async def some_compared() -> bool:
        return await verdicts(world) > 0

    async with world.at_work():
        await until(some_compared)
    await to_verify(world)
    async with world.at_work():
        report = await world.report()
    assert report["reasons"] == []
    assert report["sample"]["checked"] == min(200, report["counts"]["chat_messages"]["source"])


async def test_a_stopped_run_is_left_alone(world: World) -> None:
    await world.fill()
    await world.ask(phase="set")

    async def free() -> bool:
        return await world.database["leases"].count_documents({"_id": f"verify:{RUN}"}) == 0

    async def taken() -> bool:
        return not await free()

    async with world.at_work():
        await until(taken)
        await world.database["runs"].update_one({"_id": RUN}, {"$set": {"state": "stopped"}})
        await until(free)
    assert await world.database["verify_reports"].count_documents({}) == 0


async def test_the_end_of_a_verification_is_an_event_of_the_run(world: World) -> None:
    await world.fill()
    consumer = AIOKafkaConsumer(
        world.settings.topic("runs"), bootstrap_servers=world.settings.kafka, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        await world.ask()
        async with world.at_work():
            await world.report()
            async with asyncio.timeout(20):
                record = await consumer.getone()
    finally:
        await consumer.stop()
    headers = dict(record.headers)
    event = PhaseCompleted.model_validate_json(record.value)
    assert (headers["ce_type"], record.key) == (b"chats.verify.completed", RUN.encode())
    assert (event.run, event.phase, event.verified) == (RUN, "verify", True)


async def test_the_queries_of_the_full_comparison_walk_an_index(world: World) -> None:
    await world.fill()
    messages = world.database["chat_messages"]
    queries: list[Document] = [
        {"parent": 101, "seq": {"$gt": 5}},
        {"status": {"$in": ["NEW", "ERROR_RETRY"]}, "parent": 101},
        {"parent": {"$in": [101, 102]}},
    ]
    for query in queries:
        plan = await messages.find(query).explain()
        assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
        assert "IXSCAN" in str(plan["queryPlanner"]["winningPlan"])
