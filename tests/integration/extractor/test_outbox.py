"""Outages in the middle, answers that were lost, dead letters of what cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.extractor.conftest import small_portal
from tests.integration.extractor.extractor_world import World, a_world, remembering

from chatferry.common.entities import ENTITIES
from chatferry.common.errors import OutageError
from chatferry.extractor.ports import Due
from chatferry.extractor.steps.parts import Parts
from chatferry.simulators.bitrix24 import OddData
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


class Flaky:
    """The first call of each kind is lost on the way there, the second and the fourth on the way back."""

    def __init__(self, inner: Any, part: str, names: Sequence[str]) -> None:
        self._inner, self._part, self._names = inner, part, names
        self._calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in self._names:
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._calls[name] += 1
            number = self._calls[name]
            if number == 1:
                raise OutageError(self._part, "away", retry_after_s=0.01)
            result = await method(*args, **kwargs)
            if number in (2, 4):
                raise OutageError(self._part, "away", retry_after_s=0.01)
            return result

        return call


async def test_outages_of_the_database_stop_nothing_for_good(world: World) -> None:
    """A transaction may have been carried out although its answer was lost."""

    def hook(parts: Parts) -> Parts:
        return replace(
            parts,
            roots=Flaky(parts.roots, "mongodb", ("list_roots", "relist")),
            inventory=Flaky(parts.inventory, "mongodb", ("commit", "restart")),
            records=Flaky(parts.records, "mongodb", ("save", "save_interval", "unknown_users")),
            strangers=Flaky(parts.strangers, "mongodb", ("want", "wanted", "settle")),
            publishing=replace(
                parts.publishing,
                outbox=Flaky(parts.publishing.outbox, "mongodb", ("due", "due_roots", "due_parents", "answered")),
                unsent=Flaky(parts.publishing.unsent, "mongodb", ("unsent", "sent")),
                letters=Flaky(parts.publishing.letters, "mongodb", ("uncopied_dead_letters", "copied")),
            ),
        )

    run = await world.get(hook=hook)
    assert run["state"] == "completed"
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()
    await world.assert_intervals(run["_id"])


async def test_outages_of_kafka_repeat_a_chunk_and_lose_none(world: World) -> None:
    sent = []

    def hook(parts: Parts) -> Parts:
        parts, keep = remembering(replace(parts, broker=Flaky(parts.broker, "kafka", ("send",))))
        sent.append(keep)
        return parts

    await world.get(hook=hook)
    await world.assert_balanced()
    ids = {head["ce_id"].decode() for head in sent[0].headers() if "ce_id" in head}
    stored = await world.stored("chat_messages")
    assert {f"{doc['_id']}@{doc['version']}" for doc in stored.values()} <= ids


async def test_an_answer_for_an_older_version_does_not_clear_a_newer_one(world: World) -> None:
    await world.get()
    messages = world.database.chat_messages
    doc = await messages.find_one({})
    assert doc is not None
    await messages.update_one({"_id": doc["_id"]}, {"$set": {"version": doc["version"] + 1, "due": True}})
    entity = ENTITIES["chat_messages"]
    old = Due(entity, doc["_id"], doc["version"], doc["seq"], doc["parent"], b"{}")
    await world.parts().publishing.outbox.answered(entity, [old])
    assert await messages.count_documents({"due": True}) == 1


async def test_what_another_process_left_due_is_swept_at_the_start(world: World) -> None:
    await world.get()
    await world.database.chat_messages.update_many({}, {"$set": {"due": True}})
    run = await world.get()
    assert run["published"] == len(await world.stored("chat_messages"))
    await world.assert_balanced()


ODD = OddData(
    lone_surrogates=3,
    control_characters=2,
    long_texts=1,
    dates_without_offset=2,
    impossible_dates=2,
    missing_ids=2,
    missing_authors=2,
)


async def test_every_odd_record_ends_as_the_design_says(stack: Addresses, topics: str) -> None:
    sent = []

    def hook(parts: Parts) -> Parts:
        parts, keep = remembering(parts)
        sent.append(keep)
        return parts

    async with a_world(stack, small_portal(odd=ODD), topics_of=topics) as world:
        run = await world.get(hook=hook)
        await world.assert_balanced()
        letters = [doc async for doc in world.database.dead_letters.find()]
        assert sorted(doc["code"] for doc in letters) == ["record.impossible_date"] * 2 + ["record.no_id"] * 2
        assert all(doc["copied"] and "raw" not in doc and doc["state"] == "dead" for doc in letters)
        assert (await world.account("chat_messages")).dead == 4
        flags = [
            doc.get("flags", []) async for doc in world.database.chat_messages.find({"flags.0": {"$exists": True}})
        ]
        assert sorted(map(tuple, flags)) == [("altered",)] * 3 + [("assumed_offset",)] * 2
        copies = [head for head in sent[0].headers() if "dlq-id" in head]
        assert len(copies) == 4
        rows = (await world.rows()).values()
        assert [row["gap"] for row in rows] == [0] * len(rows)
        assert sum(row["rejected"] for row in rows) == 2

        again = await world.get(hook=hook)
        assert (again["published"], await world.database.dead_letters.count_documents({})) == (0, 4)
        await world.assert_balanced()
        await world.assert_intervals(run["_id"])


async def test_a_discarded_dead_letter_stays_discarded_while_the_portal_says_the_same(
    stack: Addresses, topics: str
) -> None:
    async with a_world(stack, small_portal(odd=OddData(impossible_dates=1)), topics_of=topics) as world:
        await world.get()
        letter = await world.database.dead_letters.find_one({})
        assert letter is not None
        await world.database.dead_letters.update_one({"_id": letter["_id"]}, {"$set": {"state": "discarded"}})
        skipped = {"$set": {"status": "SKIPPED", "skip_reason": "discarded"}}
        await world.database.chat_messages.update_one({"_id": letter["key"]}, skipped)
        await world.get()
        assert [doc["state"] async for doc in world.database.dead_letters.find()] == ["discarded"]
        assert (await world.account("chat_messages")).skipped == {"discarded": 1}


async def test_a_record_that_can_be_read_at_last_supersedes_its_dead_letter(stack: Addresses, topics: str) -> None:
    async with a_world(stack, small_portal(odd=OddData(long_texts=1)), topics_of=topics) as world:
        world.sizes = replace(world.sizes, record_bytes_max=100_000)
        await world.get()
        too_large = [doc["key"] async for doc in world.database.dead_letters.find({"code": "record.too_large"})]
        assert too_large
        world.sizes = replace(world.sizes, record_bytes_max=900_000)
        await world.get()
        assert await world.database.dead_letters.count_documents({"state": "dead"}) == 0
        await world.assert_equal_to_the_portal()
        await world.assert_balanced()


async def test_an_edit_that_removes_the_surrogate_is_no_longer_listed_as_altered(stack: Addresses, topics: str) -> None:
    async with a_world(stack, small_portal(odd=OddData(lone_surrogates=1)), topics_of=topics) as world:
        await world.get()
        altered = await world.database.chat_messages.find_one({"flags": "altered"})
        assert altered is not None
        world.running.changes.edit(altered["parent"], altered["seq"], "чисто")
        await world.get()
        assert await world.database.chat_messages.count_documents({"flags": "altered"}) == 0
