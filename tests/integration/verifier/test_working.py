"""How the verifier works: after the import, through outages, and never two at one run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from starlette.responses import Response
from tests.integration.verifier.fake_target import FakeTarget
from tests.integration.verifier.verifier_world import RUN, World, until

from chatferry.common.adapters.mongo import Document
from chatferry.common.contracts.events import PhaseCompleted
from chatferry.common.streaming.producer import RecordProducer
from chatferry.verifier.adapters.runs import MongoLeases, MongoRuns

pytestmark = pytest.mark.integration


async def verdicts(world: World) -> int:
    return await world.database["verify_verdicts"].count_documents({"_id": {"$regex": f"^{RUN}/"}})


async def stopped_half_way(world: World, fake: FakeTarget, **fields: Any) -> None:
    """A verifier that ends when all chats but one are compared; then the run has these fields."""

    def away(_method: str, body: dict[str, Any]) -> Response | None:
        return Response(status_code=503) if body.get("parent") == "source:chat:103" else None

    async def others_compared() -> bool:
        return await verdicts(world) == 3

    fake.fault = away
    await world.ask()
    async with world.at_work():
        await until(others_compared)
    fake.fault = lambda _method, _body: None
    await world.database["runs"].update_one({"_id": RUN}, {"$set": {"phase": "verify", **fields}})


async def to_verify(world: World) -> None:
    await world.database["runs"].update_one({"_id": RUN}, {"$set": {"phase": "verify"}})


async def test_nothing_is_read_back_before_the_verification_is_asked_for(world: World, fake: FakeTarget) -> None:
    await world.fill()
    await world.ask(phase="set")
    async with world.at_work():
        await world.verified_by("run-2")
        listed = dict(fake.listed)
        assert await verdicts(world) == 0
        fake.edit("chat_messages", fake.keys("chat_messages", "source:chat:101")[0])["text"] += "!"
        await to_verify(world)
        report = await world.report()
    assert report["verified"] is False
    assert all(count == 2 * listed[name] for name, count in fake.listed.items())


async def test_what_was_compared_before_a_run_was_stopped_is_compared_again(world: World, fake: FakeTarget) -> None:
    await world.fill()
    await stopped_half_way(world, fake, phase=None, state="stopped")
    fake.edit("chat_messages", fake.keys("chat_messages", "source:chat:101")[0])["text"] += "!"
    again = {"state": "running", "phase": "verify", "timings.verify.started_at": datetime.now(UTC)}
    await world.database["runs"].update_one({"_id": RUN}, {"$set": again})
    async with world.at_work():
        report = await world.report()
    assert report["verified"] is False
    assert report["full"]["different"] == 1


@pytest.mark.parametrize(
    "change", [{"state": "stopped", "phase": None}, {"timings.verify.started_at": datetime.now(UTC)}]
)
async def test_a_verification_that_is_not_asked_for_any_more_ends_without_a_report(
    world: World, fake: FakeTarget, change: Document
) -> None:
    await world.fill()
    away = asyncio.Event()

    def never(_method: str, _body: dict[str, Any]) -> Response | None:
        away.set()
        return Response(status_code=503)

    fake.fault = never
    await world.ask()
    asked = (await world.database["runs"].find_one({"_id": RUN}) or {})["timings"]["verify"]["started_at"]
    async with world.at_work() as watch:
        await away.wait()
        await world.database["runs"].update_one({"_id": RUN}, {"$set": change})

        async def let_go() -> bool:
            leases = await world.database["leases"].count_documents({})
            return all(task.asked.asked_at != asked for task in watch._tasks.values()) and leases == len(watch._tasks)

        await until(let_go)
    assert await world.database["verify_reports"].count_documents({}) == 0


async def test_a_run_that_is_stopped_at_the_last_moment_has_no_report(world: World, fake: FakeTarget) -> None:
    await world.fill()
    await world.ask()
    [run] = await MongoRuns(world.database).wanted()
    producer = RecordProducer(world.settings.kafka, client_id="tests-verifier")
    watch = world.watch(producer)
    await world.database["runs"].update_one({"_id": RUN}, {"$set": {"state": "stopped", "phase": None}})
    try:
        assert await watch.desk.begin(run, RUN).verify() is False
    finally:
        await producer.close()
    assert await world.database["verify_reports"].count_documents({}) == 0


@pytest.mark.parametrize("instead", [Response(status_code=503), Response(b"<html>be back soon</html>")])
async def test_a_target_that_is_away_is_waited_for_and_is_no_mismatch(
    world: World, fake: FakeTarget, instead: Response
) -> None:
    await world.fill()
    away = True
    fake.fault = lambda _method, _body: instead if away else None
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
    await stopped_half_way(world, fake)
    listed = dict(fake.listed)
    known = [row["key"] async for row in world.database["verify_verdicts"].find({"entity": "chat_messages"})]
    async with world.at_work():
        report = await world.report()
    assert report["reasons"] == []
    assert report["sample"]["checked"] == min(200, report["counts"]["chat_messages"]["source"])
    assert len(known) == 3
    for key in known:
        assert fake.listed[f"chat_messages {key}"] == listed[f"chat_messages {key}"]


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
        {"parent": {"$in": [101, 102]}},
    ]
    for query in queries:
        plan = await messages.find(query).explain()
        assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
        assert "IXSCAN" in str(plan["queryPlanner"]["winningPlan"])
