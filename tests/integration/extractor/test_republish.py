"""What was published is sent once more, for a subscriber that came late; nothing else changes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.extractor.crashing import Killed
from tests.integration.extractor.extractor_world import Sent, World, remembering

from chatferry.extractor.steps.parts import Parts

pytestmark = pytest.mark.integration


async def verified(world: World) -> None:
    """Everything was migrated, and proved; then the portal was closed."""
    await world.get()
    for entity in ("users", "chats", "chat_messages"):
        await world.database[entity].update_many({"payload": {"$ne": None}}, {"$set": {"status": "IMPORT_OK"}})
    state = {"VERIFIED_FLAG": True, "verified_run": "earlier", "imported_run": "earlier", "set_open": True}
    await world.database.entities.update_one({"_id": "chats"}, {"$set": state})
    client = world.portal_client()
    world.portal_client = lambda limits=None: client  # type: ignore[method-assign]
    world.running.board.revoke_webhooks(world.webhooks[0])


async def asked(world: World, entity: str, family: str = "chats") -> str:
    return await world.ask(family, (), republish=entity)


async def everything(world: World) -> dict[str, Any]:
    names = ("users", "chats", "chat_messages", "source_inventory", "page_log", "entities", "dead_letters")
    return {name: [doc async for doc in world.database[name].find().sort("_id", 1)] for name in names}


async def republished(world: World, entity: str, family: str = "chats") -> tuple[dict[str, Any], list[Any]]:
    """The run's document, and what was sent in its order."""
    made: list[Sent] = []

    def hook(parts: Parts) -> Parts:
        parts, sent = remembering(parts)
        made.append(sent)
        return parts

    document = await world.drive(await asked(world, entity, family), hook)
    return document, _records(made)


def _records(made: list[Sent]) -> list[Any]:
    return [
        one
        for sent in made
        for batch in sent.batches
        for one in batch
        if dict(one.headers)["ce_type"].endswith(b".extracted")
    ]


def headers(records: list[Any]) -> list[Mapping[str, bytes]]:
    return [dict(record.headers) for record in records]


@pytest.mark.parametrize("entity", ["users", "chats", "chat_messages"])
async def test_every_record_is_sent_again_as_it_is_stored_and_nothing_else_changes(world: World, entity: str) -> None:
    await verified(world)
    before, asked_before = await everything(world), world.running.statistics.requests.total()
    document, records = await republished(world, entity, "users" if entity == "users" else "chats")
    assert document["state"] == "completed", document.get("reason")
    stored = {doc["_id"]: doc["version"] for doc in before[entity] if doc["payload"] is not None}
    said = {head["ce_subject"].decode(): int(head["ce_recordversion"]) for head in headers(records)}
    assert said == stored
    assert len(records) == len(stored) == document["published"]
    assert {record.topic for record in records} == {f"{world.project}.{entity}"}
    assert await everything(world) == before, "as verified, as open and as balanced as it was"
    assert world.running.statistics.requests.total() == asked_before


async def test_messages_of_a_chat_go_in_order_of_their_ids(world: World) -> None:
    world.sizes = replace(world.sizes, publish_chunk=7)
    await verified(world)
    _, records = await republished(world, "chat_messages")
    by_chat: dict[bytes, list[int]] = defaultdict(list)
    for record in records:
        by_chat[record.key].append(int(dict(record.headers)["ce_subject"].rpartition(b":")[2]))
    assert len(by_chat) > 3
    assert all(ids == sorted(ids) for ids in by_chat.values())


async def test_who_takes_over_repeats_one_chunk_at_most_and_leaves_out_none(world: World) -> None:
    world.sizes = replace(world.sizes, publish_chunk=7)
    await verified(world)
    made: list[Sent] = []

    class Dying:
        def __init__(self, inner: Sent) -> None:
            self._inner = inner

        async def send(self, records: Sequence[Any]) -> None:
            await self._inner.send(records)
            if len(_records(made)) > 30:
                raise Killed

    def killing(parts: Parts) -> Parts:
        parts, sent = remembering(parts)
        made.append(sent)
        return replace(parts, broker=Dying(sent))

    def watching(parts: Parts) -> Parts:
        parts, sent = remembering(parts)
        made.append(sent)
        return parts

    run = await asked(world, "chat_messages")
    with pytest.raises(Killed):
        await world.drive(run, killing)
    assert (await world.drive(run, watching))["state"] == "completed"
    times = Counter(head["ce_id"] for head in headers(_records(made)))
    stored = await world.database.chat_messages.count_documents({"payload": {"$ne": None}})
    assert len(times) == stored
    assert sum(count > 1 for count in times.values()) <= 7


async def test_what_was_not_published_yet_stays_due_and_is_not_sent_out_of_its_turn(world: World) -> None:
    await verified(world)
    rows = sorted((await world.rows()).values(), key=lambda row: row["listed"])
    edited = await world.database.chat_messages.find_one({"parent": rows[-1]["seq"], "payload": {"$ne": None}})
    assert edited is not None
    await world.database.chat_messages.update_one({"_id": edited["_id"]}, {"$set": {"due": True}})
    half_sent = rows[-2]["seq"]
    ids = sorted([doc["seq"] async for doc in world.database.chat_messages.find({"parent": half_sent})])
    mark = ids[len(ids) // 2]
    await world.database.source_inventory.update_one({"_id": rows[-2]["_id"]}, {"$set": {"unsent_from": mark}})
    before = await everything(world)
    _, records = await republished(world, "chat_messages")
    said = {head["ce_subject"].decode() for head in headers(records)}
    assert edited["_id"] not in said
    assert {f"source:chat:msg:{number}" in said for number in ids if number <= mark and number} == {True}
    assert {f"source:chat:msg:{number}" in said for number in ids if number > mark} == {False}
    assert await everything(world) == before
