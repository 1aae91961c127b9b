"""Records of which the target keeps an older version, and the ids that the target gave."""

from __future__ import annotations

import pytest
from tests.integration.verifier.fake_target import FakeTarget
from tests.integration.verifier.verifier_world import World

from chatferry.common.report.checks import check_lines

pytestmark = pytest.mark.integration


async def a_kept_one(world: World, fake: FakeTarget) -> str:
    """The key of a message whose newer version was refused and discarded."""
    key = fake.keys("chat_messages", "source:chat:101")[0]
    messages = world.database["chat_messages"]
    newer = {"status": "SKIPPED", "skip_reason": "discarded", "payload_hash": "0" * 64, "payload.text": "newer"}
    await messages.update_one({"_id": key}, {"$set": newer, "$inc": {"version": 5_000_000}})
    return key


async def test_an_older_version_may_stay_where_a_newer_one_was_discarded(world: World, fake: FakeTarget) -> None:
    await world.fill()
    await a_kept_one(world, fake)
    report = await world.verified()
    assert report["reasons"] == []
    assert report["kept"] == {"chat_messages": 1}
    assert [check for check in check_lines(report) if not check.good] == []


async def test_an_edit_of_such_a_version_is_found(world: World, fake: FakeTarget) -> None:
    await world.fill()
    key = await a_kept_one(world, fake)
    fake.edit("chat_messages", key)["text"] = "another"
    report = await world.verified()
    assert report["verified"] is False
    assert report["full"]["different"] == 1
    [found] = await world.mismatches()
    assert (found["key"], found["check"], found["field"]) == (key, "hash", "data")
    assert "another" not in str(found)


async def test_a_user_map_that_leads_elsewhere_maps_nobody(world: World) -> None:
    await world.fill()
    await world.database["id_map"].update_many({"entity": "users"}, {"$set": {"target_id": "987654"}})
    report = await world.verified()
    assert report["verified"] is False
    assert report["participants"]["mapped_share"] == 0.0


async def test_another_id_at_the_target_is_named(world: World, fake: FakeTarget) -> None:
    await world.fill()
    fake.items["users"]["source:user:3"]["id"] = "987654"
    report = await world.verified()
    assert report["verified"] is False
    [found] = await world.mismatches()
    assert (found["key"], found["check"], found["detail"]["target"]) == ("source:user:3", "id", "987654")
