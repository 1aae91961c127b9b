"""One driver at a time: what a process that was thought dead does when it wakes up changes nothing."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from tests.integration.extractor.extractor_world import World

from chatferry.common.entities import ENTITIES, FAMILIES
from chatferry.common.entities.reading import View
from chatferry.common.errors import LeaseLostError
from chatferry.extractor.domain.records import Candidate
from chatferry.extractor.ports import PageEntry, WalkUpdate
from chatferry.extractor.steps.context import SEQ_BITS, ReadSequence

pytestmark = pytest.mark.integration


async def everything(world: World) -> dict[str, Any]:
    names = ("runs", "source_inventory", "page_log", "chats", "chat_messages", "users", "dead_letters")
    return copy.deepcopy({name: [doc async for doc in world.database[name].find().sort("_id", 1)] for name in names})


async def test_a_lease_is_held_by_one_and_a_takeover_raises_the_epoch(world: World) -> None:
    one, other = world.leases(2, "one"), world.leases(30, "other")
    first = await one.acquire("portal")
    assert first is not None
    assert await other.acquire("portal") is None
    await one.renew(first)
    async with asyncio.timeout(30):
        while (second := await other.acquire("portal")) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert second.epoch > first.epoch
    with pytest.raises(LeaseLostError):
        await one.renew(first)
    await one.release(first)
    assert await one.acquire("portal") is None


async def test_a_lease_that_is_let_go_can_be_taken_at_once_under_a_higher_epoch(world: World) -> None:
    one = world.leases(30, "one")
    first = await one.acquire("portal")
    assert first is not None
    await one.release(first)
    second = await world.leases(30, "other").acquire("portal")
    assert second is not None
    assert second.epoch > first.epoch


async def test_epochs_go_on_where_a_project_is_set_up_again(world: World) -> None:
    """Versions of the old project's records are at the target still."""
    first = await world.leases().acquire("portal")
    await world.database.leases.drop()
    await asyncio.sleep(1.1)
    second = await world.leases().acquire("portal")
    assert first is not None
    assert second is not None
    assert second.epoch > first.epoch


async def test_many_that_ask_at_once_get_one_lease(world: World) -> None:
    got = await asyncio.gather(*[world.leases(30, f"o{n}").acquire("portal") for n in range(12)])
    assert sum(lease is not None for lease in got) == 1


def test_read_numbers_grow_within_their_epoch_and_fit_53_bits() -> None:
    sequence = ReadSequence(1_800_000_000)
    first, second = sequence.take(), sequence.take()
    assert 1_800_000_000 << SEQ_BITS < first < second < 1_800_000_001 << SEQ_BITS < 2**53


def test_used_up_read_numbers_ask_for_a_new_lease_and_never_reach_into_it() -> None:
    sequence = ReadSequence(5)
    sequence._next = (6 << SEQ_BITS) - 2
    assert sequence.take() == (6 << SEQ_BITS) - 1
    with pytest.raises(LeaseLostError):
        sequence.take()


async def test_a_zombie_changes_nothing(world: World) -> None:
    zombie = await world.lease()
    await world.get()
    before = await everything(world)
    parts, family = world.parts(), FAMILIES["chats"]
    run = before["runs"][0]["_id"]
    row = before["source_inventory"][0]
    assert row["kind"] == "root"
    place: dict[str, Any] = {"entity": "chat_messages", "parent": row["seq"], "lo": 0, "hi": 10**9, "method": "m"}
    page = PageEntry(count=0, rejected=0, read_seq=1, webhook=1, duration_ms=1, **place)
    with pytest.raises(LeaseLostError):
        await parts.runs.update(run, zombie.epoch, {"state": "blocked"})
    with pytest.raises(LeaseLostError):
        await parts.inventory.commit(run, zombie.epoch, [WalkUpdate(row["_id"], {"state": "failed"}, [page])])
    with pytest.raises(LeaseLostError):
        await parts.inventory.restart(run, zombie.epoch, row["_id"], row["seq"], {"walks": 1})
    with pytest.raises(LeaseLostError):
        await parts.roots.list_roots(family, run, zombie.epoch, [(row["seq"], View(1, "chat1"))])
    assert [one async for one in parts.inventory.open_rows(family, run, zombie.epoch)] == []
    old = Candidate(before["chats"][0]["_id"], before["chats"][0]["seq"], None, {"id": 1}, "0" * 64)
    await parts.records.save(ENTITIES["chats"], [old], zombie.epoch << SEQ_BITS, fresh=False)
    saved = await parts.records.save_interval(
        ENTITIES["chat_messages"], [], zombie.epoch << SEQ_BITS, page, to_the_end=True
    )
    assert saved.changed == 0
    assert await everything(world) == before


async def test_a_zombie_does_not_overwrite_the_row_of_a_listing(world: World) -> None:
    zombie = await world.lease()
    await world.get("users")
    before = await everything(world)
    with pytest.raises(LeaseLostError):
        await world.parts().listings.put_listing(
            ENTITIES["users"], "other", zombie.epoch, {"listed": 0, "whole": True, "state": "walking"}
        )
    assert await everything(world) == before


async def test_a_driver_that_loses_its_portal_in_the_middle_stops_and_the_other_one_ends_the_run(world: World) -> None:
    run = await world.ask()
    lease = await world.lease()
    old = asyncio.create_task(world.drive(run, lease=lease))
    async with asyncio.timeout(10):
        while await world.database.page_log.count_documents({}) == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    document = await world.drive(run)
    with pytest.raises(LeaseLostError):
        await old
    assert document["state"] == "completed"
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()
    await world.assert_intervals(run)
