"""A run that an operator ends: it comes to a safe point, says so, and the next one goes on where it stood."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from tests.integration.extractor.extractor_world import World, remembering

from chatferry.common.clock import SystemClock
from chatferry.common.entities import FAMILIES
from chatferry.common.entities.reading import Answer, Command
from chatferry.common.errors import FatalError, OutageError
from chatferry.extractor.steps.parts import Parts
from chatferry.importer.adapters.mongo_records import MongoFamilies
from chatferry.operator.folder import Project
from chatferry.operator.runs import Options, Store
from chatferry.operator.stopping import ask_to_stop, wait_for_end

pytestmark = pytest.mark.integration
ONLY_GET = Options(("get",))


@pytest.fixture
def store(world: World) -> Any:
    """What the command has of this project."""
    asked = Store(
        Project(
            name=world.project,
            kafka=world.addresses.kafka,
            mongodb=world.addresses.mongodb,
            redis=world.addresses.redis,
            webhooks_file="",
            portal_url=f"https://{world.portal_client().host}/",
            portal_host=world.portal_client().host,
            target_url="",
            rest_url_file="",
        )
    )
    asked.database = world.database
    yield asked
    asked.close()


class Halting:
    """A portal where, at the n-th batch, an operator asks for the end; what was asked of it by then is answered."""

    def __init__(self, inner: Any, at: int, ask: Callable[[], Any]) -> None:
        self._inner, self._at, self._ask, self.batches, self.after = inner, at, ask, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        self.batches += 1
        if self.batches == self._at:
            await self._ask()
            # Longer than it takes to be heard.
            await asyncio.sleep(1.5)
        return list(await self._inner.batch(webhook, commands))


async def drive_until_stopped(world: World, store: Store, run: str, at: int) -> tuple[dict[str, Any], Halting]:
    made: list[Halting] = []

    async def ask() -> None:
        assert await ask_to_stop(store, None) == run

    def hook(parts: Parts) -> Parts:
        made.append(Halting(parts.portal, at, ask))
        return replace(parts, portal=made[0])

    return await world.drive(run, hook), made[0]


async def prepared(world: World, store: Store) -> str:
    await world.database.entities.update_one({"_id": "users"}, {"$set": {"imported_run": "earlier"}}, upsert=True)
    world.sizes = replace(world.sizes, concurrency=1, batch_commands=8, page_size=5)
    return await store.ask("chats", ONLY_GET)


@pytest.mark.parametrize("at", [1, 4, 9])
async def test_what_is_asked_for_again_goes_on_where_the_stopped_run_stood(world: World, store: Store, at: int) -> None:
    run = await prepared(world, store)
    document, halting = await drive_until_stopped(world, store, run, at)
    assert (document["state"], document["reason"]) == ("stopped", "stopped by the operator")
    assert document["finished_at"] is not None
    assert halting.batches == at, "nothing is begun after the word to stop"
    assert (await wait_for_end(store, run, 0))["state"] == "stopped"
    read = {page["_id"] async for page in world.database.page_log.find({"run": run})}
    closed = [row["_id"] async for row in world.database.source_inventory.find({"state": "closed"})]
    assert at != 9 or closed
    if document.get("listed_at"):
        assert all([(await world.account(entity)).balanced for entity in ("chats", "chat_messages")])

    assert await store.ask("chats", ONLY_GET) == run
    asked: list[Mapping[str, Any]] = []

    class Watched:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
            asked.extend({"method": command.method, **command.params} for command in commands)
            return list(await self._inner.batch(webhook, commands))

    document = await world.drive(run, lambda parts: replace(parts, portal=Watched(parts.portal)))
    assert document["state"] == "completed"
    assert "stop" not in document
    if document["listed_at"] is not None and read:
        assert not [one for one in asked if one["method"] == "im.recent.list"]
    refs = {str(one["DIALOG_ID"]) for one in asked if "DIALOG_ID" in one}
    rows = await world.rows()
    assert not refs & {view["ref"] for row in rows.values() if row["_id"] in closed for view in row["views"]}
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()
    await world.assert_intervals(run)


async def test_a_stopped_run_has_published_whole_chunks_and_the_rest_is_due(world: World, store: Store) -> None:
    run, sent = await prepared(world, store), []

    async def ask() -> None:
        await ask_to_stop(store, run)

    def hook(parts: Parts) -> Parts:
        parts, keep = remembering(parts)
        sent.append(keep)
        return replace(parts, portal=Halting(parts.portal, 8, ask))

    document = await world.drive(run, hook)
    records = [head for head in sent[0].headers() if head["ce_type"].endswith(b".extracted")]
    assert document["published"] == len(records)
    due = sum([(await world.account(entity)).due for entity in ("users", "chats", "chat_messages")])
    stored = sum([len(await world.stored(entity)) for entity in ("users", "chats", "chat_messages")])
    assert len(records) == stored - due


async def test_a_run_that_waits_for_a_part_that_is_away_can_be_stopped(world: World, store: Store) -> None:
    run = await prepared(world, store)

    class Away:
        async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
            await ask_to_stop(store, run)
            raise OutageError("portal", "the portal is away", retry_after_s=0.05)

    async with asyncio.timeout(30):
        document = await world.drive(run, lambda parts: replace(parts, portal=Away()))  # type: ignore[arg-type]
    assert document["state"] == "stopped"


async def test_importers_leave_what_is_published_once_the_run_is_stopped(world: World, store: Store) -> None:
    run = await world.ask(phases=("get", "set"))
    answer = {"ok": True, "detail": "the target lets us in"}
    await world.database.runs.update_one({"_id": run}, {"$set": {"target_check": answer}})

    async def stop_when_set_is_open() -> None:
        while (await world.run_document(run)).get("phase") != "set":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        # So do the importers know whose records they deliver, those of a family that the run needs too.
        families = await MongoFamilies(world.database).states()
        for name in ("chats", "users"):
            assert (families[name].set_open, families[name].run) == (True, run)
        await ask_to_stop(store, run)

    async with asyncio.timeout(60):
        document, _ = await asyncio.gather(world.drive(run), stop_when_set_is_open())
    assert (document["state"], document["published"] > 0) == ("stopped", True)
    states = {row["_id"]: row.get("set_open") async for row in world.database.entities.find({})}
    assert (states["chats"], states["users"]) == (False, False)
    assert await store.ask("chats", Options(("get", "set"))) == run
    again = await world.run_document(run)
    assert ("finished_at" in again["timings"]["get"], "target_check" in again) == (True, False)


async def test_another_wish_or_another_run_in_between_begins_anew(world: World, store: Store) -> None:
    run = await prepared(world, store)
    await drive_until_stopped(world, store, run, 2)
    other = await store.ask("chats", Options(("get",), test_limit=2))
    assert other != run
    await drive_until_stopped(world, store, other, 2)
    third = await store.ask("chats", ONLY_GET)
    assert third not in (run, other)
    await drive_until_stopped(world, store, third, 2)
    assert await store.ask("chats", replace(ONLY_GET, anew=True)) not in (run, other, third)


async def test_there_is_nothing_to_stop_where_nothing_is_under_way(world: World, store: Store) -> None:
    with pytest.raises(FatalError, match="no run is under way"):
        await ask_to_stop(store, None)
    with pytest.raises(FatalError, match="there is no run"):
        await ask_to_stop(store, "nobody")
    run = await world.get()
    with pytest.raises(FatalError, match="is not under way: it is completed"):
        await ask_to_stop(store, run["_id"])


async def told(world: World, topic: str) -> list[tuple[Mapping[str, bytes], dict[str, Any]]]:
    """All that lies on a topic of this project about runs, oldest first."""
    consumer = AIOKafkaConsumer(
        f"{world.project}.{topic}", bootstrap_servers=world.addresses.kafka, auto_offset_reset="earliest"
    )
    await consumer.start()
    found: list[tuple[Mapping[str, bytes], dict[str, Any]]] = []
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        while [one for one, end in ends.items() if await consumer.position(one) < end]:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [(dict(record.headers), json.loads(record.value)) for record in records]
    finally:
        await consumer.stop()
    return found


async def test_a_word_to_stop_is_an_event_of_its_own(world: World, store: Store) -> None:
    run = await store.ask("chats", ONLY_GET)
    await ask_to_stop(store, run)
    events = [(head["ce_type"], body) for head, body in await told(world, "commands") if body["run"] == run]
    assert [kind for kind, _ in sorted(events, key=lambda event: event[0])] == [b"run.requested", b"run.stopped"]
    assert {"run": run, "reason": "stopped by the operator"} in [body for _, body in events]


class Quick(SystemClock):
    """Pauses of whole seconds are shorter; the time of day goes with them."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 20)


async def test_progress_is_told_with_the_counts_that_status_shows(world: World, store: Store) -> None:
    world.clock = Quick()
    run = await prepared(world, store)

    class Slow:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
            await asyncio.sleep(0.05)
            return list(await self._inner.batch(webhook, commands))

    document = await world.drive(run, lambda parts: replace(parts, portal=Slow(parts.portal)))
    events = [
        (head, body)
        for head, body in await told(world, "runs")
        if body["run"] == run and head["ce_type"] == b"run.progress"
    ]
    assert len(events) > 2
    assert len({head["ce_id"] for head, _ in events}) == len(events)
    last = events[-1][1]
    assert (last["family"], last["phase"], last["state"]) == ("chats", "get", "running")
    listed = [body["counts"]["chat_messages"]["extracted"] for _, body in events]
    assert listed == sorted(listed)
    assert listed[-1] > 0
    shown = {one.entity for one in await store.counts(FAMILIES["chats"], run)}
    assert shown == set(last["counts"])
    assert set(last["counts"]["chats"]) >= {"listed", "extracted", "published", "imported", "dead", "waiting"}
    assert document["progress_at"] is not None
