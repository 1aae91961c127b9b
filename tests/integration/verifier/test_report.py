"""What the report of a verification holds, and what keeps a run from being verified beside the comparison."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.verifier.fake_target import FakeTarget
from tests.integration.verifier.verifier_world import World

from chatferry.common.report import report_html, report_json

pytestmark = pytest.mark.integration


async def a_message(world: World, **query: Any) -> str:
    """The key of a message that is neither the first nor the last of its chat."""
    rows = await world.database["chat_messages"].find({"parent": 101, **query}).sort("seq", 1).to_list(20)
    return str(rows[len(rows) // 2]["_id"])


async def test_altered_records_are_listed(world: World) -> None:
    await world.fill()
    key = await a_message(world)
    await world.database["chat_messages"].update_one({"_id": key}, {"$set": {"flags": ["altered"]}})
    report = await world.verified()
    assert report["altered"] == [{"entity": "chat_messages", "key": key, "flags": ["altered"]}]
    assert report["verified"] is True


async def test_all_differences_are_in_the_collection_and_the_report_holds_the_first_hundred(
    world: World, fake: FakeTarget
) -> None:
    await world.fill(chats=6)
    fake.items["chat_messages"].clear()
    report = await world.verified()
    total = await world.database["chat_messages"].count_documents({})
    assert total > 100
    assert len(report["mismatches"]) == 100
    assert report["mismatch_counts"]["missing"] == total == len(await world.mismatches(check="missing"))


async def test_a_family_without_children_is_verified_whole_and_sampled(world: World, fake: FakeTarget) -> None:
    await world.fill()
    good = report_json(await world.verified(family="users"))
    fake.edit("users", "source:user:3")["email"] = None
    bad = await world.verified("run-2", family="users")
    assert good["reasons"] == []
    assert good["full"]["compared"] == good["sample"]["checked"] == 9
    assert list(good["counts"]) == ["users"]
    assert (bad["full"]["different"], bad["sample"]["mismatches"]) == (1, 1)
    assert [(row["key"], row["field"]) for row in await world.mismatches(check="content")] == [
        ("source:user:3", "email")
    ]
    assert "Not verified" in report_html(bad)


async def test_a_stranger_that_the_portal_cannot_name_keeps_the_run_from_being_verified(world: World) -> None:
    await world.fill()
    await world.database["source_inventory"].insert_one(
        {
            "_id": "stranger:source:user:77",
            "kind": "stranger",
            "of": "users",
            "seq": 77,
            "state": "unresolvable",
            "reason": "no method of the portal knows this user",
        }
    )
    report = await world.verified()
    assert report["verified"] is False
    assert [(gap["key"], gap["entity"]) for gap in report["gaps"]] == [("stranger:source:user:77", "users")]


async def test_a_dead_letter_of_no_record_keeps_the_run_from_being_verified(world: World) -> None:
    await world.fill()
    letter = {"_id": "p.chats/0/5", "entity": "chats", "key": "?", "state": "dead", "error_class": "undecodable"}
    await world.database["dead_letters"].insert_one(letter)
    report = await world.verified()
    assert report["dead_letters"]["dead"] == 1
    assert [reason.partition(" of ")[0] for reason in report["reasons"]] == ["1 dead letter is"]


async def test_two_copies_of_one_record_that_died_are_no_letter_of_no_record(world: World) -> None:
    """As a send leaves them that was doubled; what nobody could read is each of its own."""
    await world.fill()
    messages = world.database["chat_messages"]
    record = await messages.find_one({}, sort=[("_id", 1)])
    assert record is not None
    died = {"$set": {"status": "IMPORT_ERR"}, "$unset": {"imported_version": 1}}
    await messages.update_one({"_id": record["_id"]}, died)
    told = {"entity": "chat_messages", "key": record["_id"], "version": record["version"], "state": "dead"}
    copies = [{"_id": f"p.chat_messages/0/{offset}", **told} for offset in (5, 6, 7)]
    await world.database["dead_letters"].insert_many(copies)
    report = await world.verified()
    assert report["dead_letters"]["dead"] == 3
    assert [reason for reason in report["reasons"] if "dead letter is" in reason or "dead letters are" in reason] == []
    unreadable = {**told, "key": None, "version": None, "error_class": "undecodable"}
    await world.database["dead_letters"].insert_many(
        [{"_id": f"p.chat_messages/0/{offset}", **unreadable} for offset in (8, 9)]
    )
    report = await world.verified("run-2")
    assert any(reason.startswith("2 dead letters are of no record that was read") for reason in report["reasons"])
