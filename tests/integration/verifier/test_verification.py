"""A whole verification on a real MongoDB, and each edit and gap that it must find."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from starlette.responses import Response
from tests.integration.verifier.fake_target import FakeTarget
from tests.integration.verifier.verifier_world import World, message

from chatferry.common.contracts.canonical import payload_hash
from chatferry.common.report import report_html, report_json

pytestmark = pytest.mark.integration
Edit = Callable[[FakeTarget, str], Any]


async def a_message(world: World, **query: Any) -> str:
    """The key of a message that is neither the first nor the last of its chat."""
    rows = await world.database["chat_messages"].find({"parent": 101, **query}).sort("seq", 1).to_list(20)
    return str(rows[len(rows) // 2]["_id"])


async def test_an_undisturbed_migration_is_verified(world: World) -> None:
    await world.fill()
    report = report_json(await world.verified())
    total = await world.database["chat_messages"].count_documents({})
    assert await world.mismatches() == []
    assert report["reasons"] == []
    assert report["verified"] is True
    assert report["counts"]["chat_messages"] == dict.fromkeys(("source", "extracted", "imported", "target"), total)
    assert report["counts"]["users"] == dict.fromkeys(("source", "extracted", "imported", "target"), 9)
    assert report["full"] == {"compared": total + 4 + 9, "missing": 0, "extra": 0, "different": 0}
    assert report["sample"] == {"checked": min(200, total), "mismatches": 0, "seed": 1}
    assert report["participants"] == {"chats": 4, "mapped_share": 1.0, "different": 0}
    assert report["ledger"]["chat_messages"] == {"read": total, "done": total, "skipped": {}, "dead": 0, "waiting": 0}
    assert report["dead_letters"]["dead"] == 0
    assert report["gaps"] == report["altered"] == report["mismatches"] == report["not_readable"] == []
    assert report["reading_method"] == "im.dialog.messages.get"
    sizes = [row["stored"] for row in report["chats"]]
    assert len(sizes) == 4
    assert sizes == sorted(sizes, reverse=True)
    assert report["seconds"] >= 0


def cut(fake: FakeTarget, key: str) -> Any:
    data = fake.edit("chat_messages", key)
    length = len(data["text"])
    data["text"] = data["text"][:-1]
    return {"check": "content", "field": "text", "source_length": length, "target_length": length - 1}


def other_author(fake: FakeTarget, key: str) -> Any:
    fake.edit("chat_messages", key)["author_id"] = 999
    return {"check": "content", "field": "author_id"}


def other_hour(fake: FakeTarget, key: str) -> Any:
    sent = fake.edit("chat_messages", key)["sent_at"]
    hour = int(sent["utc"][11:13])
    sent["utc"] = f"{sent['utc'][:11]}{(hour + 1) % 24:02d}{sent['utc'][13:]}"
    return {"check": "content", "field": "sent_at.utc"}


def gone(fake: FakeTarget, key: str) -> Any:
    del fake.items["chat_messages"][key]
    return {"check": "missing", "field": ""}


def other_version(fake: FakeTarget, key: str) -> Any:
    fake.items["chat_messages"][key]["version"] -= 1
    return {"check": "version", "field": "version"}


def other_hash(fake: FakeTarget, key: str) -> Any:
    fake.items["chat_messages"][key]["hash"] = "0" * 64
    return {"check": "hash", "field": "hash"}


@pytest.mark.parametrize("edit", [cut, other_author, other_hour, gone, other_version, other_hash])
async def test_an_edited_message_at_the_target_is_named_to_record_and_field(
    world: World, fake: FakeTarget, edit: Edit
) -> None:
    await world.fill()
    key = await a_message(world, **{"payload.author_id": {"$ne": None}})
    expected = edit(fake, key)
    report = await world.verified()
    found = [row for row in await world.mismatches(key=key) if row["check"] == expected["check"]]
    assert report["verified"] is False
    assert report["reasons"]
    assert [row["field"] for row in found] == [expected["field"]]
    assert found[0]["parent"] == "source:chat:101"
    for name in ("source_length", "target_length"):
        if name in expected:
            assert found[0]["detail"][name] == expected[name]


async def test_no_content_of_a_difference_reaches_report_or_page(world: World, fake: FakeTarget) -> None:
    await world.fill(chats=2)
    key = await a_message(world)
    text = fake.edit("chat_messages", key)["text"]
    fake.edit("chat_messages", key)["text"] = "the forged words"
    report = await world.verified()
    for shown in (str(report_json(report)), report_html(report)):
        assert "forged words" not in shown
        assert text not in shown


async def test_a_message_too_many_is_named(world: World, fake: FakeTarget) -> None:
    await world.fill()
    extra = message(9_999_999, 101, 1, "one too many")
    key = "source:chat:msg:9999999"
    item = {"id": "5", "key": key, "version": 1, "hash": payload_hash(extra), "data": extra}
    fake.items["chat_messages"][key] = item
    report = await world.verified()
    assert report["verified"] is False
    assert report["full"]["extra"] == 1
    assert [row["key"] for row in await world.mismatches(check="extra")] == [key]
    assert [row["key"] for row in await world.mismatches(check="count")] == ["source:chat:101"]


async def test_a_message_under_a_chat_that_nobody_knows_is_named(world: World, fake: FakeTarget) -> None:
    await world.fill()
    extra = message(9_999_999, 777, 1, "an orphan")
    fake.items["chat_messages"]["source:chat:msg:9999999"] = {
        "id": "5",
        "key": "source:chat:msg:9999999",
        "version": 1,
        "hash": payload_hash(extra),
        "data": extra,
    }
    report = await world.verified()
    assert report["verified"] is False
    assert report["full"]["extra"] == 1
    assert [row["key"] for row in await world.mismatches(check="extra")] == ["source:chat:msg:9999999"]


async def test_a_participant_missing_at_the_target_is_named_with_chat_and_user(world: World, fake: FakeTarget) -> None:
    await world.fill()
    people = fake.edit("chats", "source:chat:102")["participant_ids"]
    lost = people.pop(0)
    report = await world.verified()
    found = await world.mismatches(check="participants")
    assert report["verified"] is False
    assert report["participants"]["different"] == 1
    assert [(row["key"], row["field"]) for row in found] == [("source:chat:102", f"source:user:{lost}")]
    assert [row["field"] for row in await world.mismatches(check="content")] == ["participant_ids"]


async def test_a_user_without_a_place_in_the_user_map_is_named_with_the_chat(world: World) -> None:
    await world.fill()
    (stored,) = await world.database["chats"].find({"seq": 103}).to_list(1)
    owner = stored["payload"]["owner_id"]
    await world.database["id_map"].delete_one({"_id": f"source:user:{owner}"})
    report = await world.verified()
    found = await world.mismatches(check="mapping")
    assert report["verified"] is False
    assert report["participants"]["mapped_share"] < 1
    assert ("source:chat:103", f"source:user:{owner}") in {(row["key"], row["field"]) for row in found}


async def test_a_sampled_record_that_get_lacks_is_a_mismatch_of_the_sample(world: World, fake: FakeTarget) -> None:
    await world.fill()
    key = await a_message(world)
    listed = FakeTarget._get

    def get_lacks(method: str, body: dict[str, Any]) -> Any:
        if method != "get":
            return None
        answer = listed(fake, body)
        answer["items"] = [item for item in answer["items"] if item["key"] != key]
        return Response(orjson.dumps(answer))

    fake.fault = get_lacks
    report = await world.verified(run="run-1")
    assert report["full"]["missing"] == 0
    assert report["sample"]["mismatches"] == 1
    assert [row["key"] for row in await world.mismatches(check="sample")] == [key]
    assert report["verified"] is False
    value = world.context.metrics.registry.get_sample_value("verify_sample_mismatch_total", {"entity": "chats"})
    assert value == 1
    # The length of the phase is the extractor's to tell: told by both, the sums would be twice as large.
    spent = world.context.metrics.registry.get_sample_value("duration_ms_count", {"entity": "chats", "phase": "verify"})
    assert spent is None


@pytest.mark.parametrize(
    ("fields", "check"),
    [
        ({"state": "walking"}, "walk"),
        ({"state": "failed", "reason": "HTTP 500, three times"}, "walk"),
        ({"state": "unreadable", "reason": "no webhook may read it"}, "walk"),
        ({"claimed": 1_000, "gap": 900, "reason": "history hidden"}, "gap"),
    ],
)
async def test_what_the_portal_did_not_show_keeps_the_run_from_being_verified(
    world: World, fields: dict[str, Any], check: str
) -> None:
    await world.fill()
    await world.database["source_inventory"].update_one({"_id": "source:chat:102"}, {"$set": fields})
    report = await world.verified()
    assert report["verified"] is False
    assert [row["key"] for row in await world.mismatches(check=check)] == ["source:chat:102"]
    if fields.get("state") != "walking":
        assert [(gap["key"], gap["reason"]) for gap in report["gaps"]] == [("source:chat:102", fields["reason"])]


async def test_a_gap_that_an_operator_accepted_by_name_does_not_count(world: World) -> None:
    await world.fill()
    accepted = {"by": "olga", "at": datetime.now(UTC), "reason": "known", "gap": 900, "state": "closed"}
    gap = {"claimed": 1_000, "gap": 900, "reason": "history hidden", "accepted": accepted}
    await world.database["source_inventory"].update_one({"_id": "source:chat:102"}, {"$set": gap})
    report = await world.verified()
    assert report["reasons"] == []
    assert report["verified"] is True
    assert [(one["accepted_by"], one["accepted_reason"]) for one in report["gaps"]] == [("olga", "known")]
    assert "1 gap in it accepted by olga" in report_html(report)
    assert report_json(report)["gaps"][0]["accepted_at"]


@pytest.mark.parametrize("change", [{"gap": 3_000, "claimed": 3_100}, {"state": "failed"}, {"state": "walking"}])
async def test_an_acceptance_holds_no_longer_once_the_gap_or_the_state_is_another(
    world: World, change: dict[str, Any]
) -> None:
    await world.fill()
    accepted = {"by": "olga", "at": datetime.now(UTC), "reason": None, "gap": 900, "state": "closed"}
    gap = {"claimed": 1_000, "gap": 900, "reason": "history hidden", "accepted": accepted, **change}
    await world.database["source_inventory"].update_one({"_id": "source:chat:102"}, {"$set": gap})
    report = await world.verified()
    assert report["verified"] is False
    assert [one["accepted_by"] for one in report["gaps"]] in ([None], [])


async def test_a_record_still_waiting_or_dead_keeps_the_run_from_being_verified(world: World, fake: FakeTarget) -> None:
    await world.fill()
    waiting, dead = await a_message(world), await a_message(world, seq={"$gt": 1_020})
    messages = world.database["chat_messages"]
    await messages.update_one({"_id": waiting}, {"$set": {"status": "NEW"}, "$unset": {"imported_version": 1}})
    await messages.update_one({"_id": dead}, {"$set": {"status": "IMPORT_ERR"}, "$unset": {"imported_version": 1}})
    del fake.items["chat_messages"][dead]
    report = await world.verified()
    assert waiting != dead
    assert report["verified"] is False
    assert report["ledger"]["chat_messages"]["dead"] == report["ledger"]["chat_messages"]["waiting"] == 1
    assert any("dead" in reason for reason in report["reasons"])
    assert any("waiting" in reason for reason in report["reasons"])


async def test_a_record_that_was_never_stored_unbalances_ledger_and_counts(world: World, fake: FakeTarget) -> None:
    await world.fill()
    key = await a_message(world)
    await world.database["chat_messages"].delete_one({"_id": key})
    del fake.items["chat_messages"][key]
    report = await world.verified()
    assert report["verified"] is False
    assert any("ledger" in reason for reason in report["reasons"])
    assert [row["key"] for row in await world.mismatches(check="count")] == ["source:chat:101"]


async def test_a_record_skipped_with_a_reason_need_not_be_at_the_target(world: World, fake: FakeTarget) -> None:
    await world.fill()
    key = await a_message(world)
    skip = {"$set": {"status": "SKIPPED", "skip_reason": "discarded"}, "$unset": {"imported_version": 1}}
    await world.database["chat_messages"].update_one({"_id": key}, skip)
    del fake.items["chat_messages"][key]
    report = await world.verified()
    assert report["reasons"] == []
    assert report["ledger"]["chat_messages"]["skipped"] == {"discarded": 1}


async def test_a_test_limit_never_verifies(world: World) -> None:
    await world.fill()
    report = await world.verified(test_limit=5)
    assert report["verified"] is False
    assert [reason.partition(":")[0] for reason in report["reasons"]] == ["test limit"]


async def test_a_part_that_an_earlier_get_read_is_not_verified_as_the_whole(world: World) -> None:
    await world.fill()
    get = {"run": "run-1", "whole": False}
    await world.database["entities"].insert_one({"_id": "chats", "get": get})
    report = await world.verified(run="run-2")
    assert report["verified"] is False
    assert report["reasons"] == ["only a part was read (test limit, or a Get that did not end) of chats"]


async def test_a_chat_that_the_newest_get_did_not_read_is_not_verified(world: World) -> None:
    await world.fill()
    await world.database["entities"].insert_one({"_id": "chats", "get": {"run": "run-2", "whole": True}})
    others = {"_id": {"$ne": "source:chat:103"}, "kind": "root"}
    await world.database["source_inventory"].update_many(others, {"$set": {"run": "run-2"}})
    await world.database["page_log"].update_many({"parent": {"$ne": 103}}, {"$set": {"run": "run-2"}})
    report = await world.verified(run="run-2")
    assert report["verified"] is False
    assert [(row["key"], row["detail"]["state"]) for row in await world.mismatches(check="walk")] == [
        ("source:chat:103", "stale")
    ]
    assert [reason.partition(" not ")[0] for reason in report["reasons"]] == ["1 walk of the portal is"]


@pytest.mark.parametrize("place", [0, 1, -1])
async def test_a_page_that_is_missing_in_the_log_is_named(world: World, place: int) -> None:
    await world.fill()
    log = world.database["page_log"]
    pages = await log.find({"parent": 102, "count": {"$gt": 0}}).sort("lo", 1).to_list(100)
    lost = pages[place]
    await log.delete_one({"_id": lost["_id"]})
    report = await world.verified()
    found = await world.mismatches(check="pages")
    assert report["verified"] is False
    assert [(row["key"], row["field"]) for row in found] == [("source:chat:102", "count"), ("source:chat:102", "hole")]
    assert found[1]["detail"] == {"from": lost["lo"], "to": lost["hi"] - 1}
    assert [reason.partition(" not ")[0] for reason in report["reasons"]] == ["2 accounts of what was read are"]
    assert "does not prove what was read" in report_html(report)
