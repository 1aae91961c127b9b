"""The stranger's ledger: it agrees with what is so, in mid-run too, and names whatever was tampered with."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pymongo.collection import Collection
from tests.integration.whole.ledger_world import (
    REFUSED_CHAT,
    TAMPERED,
    Stopped,
    check,
    save_status,
)
from tests.integration.whole.running import Running, a_project

from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
_SLOW = {"CHATFERRY_BATCH_COMMANDS": "5", "CHATFERRY_PAGE_SIZE": "5"}
_PREFIX = "source:chat:msg:"
_ROWS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("messages", _PREFIX, {"attachments": {"$exists": True}, "marks": {"$exists": False}}),
    ("chats", "source:chat:", {"title": {"$exists": True}}),
    ("users", "source:user:", {"active": True, "bot": False}),
)


def a_done(stopped: Stopped) -> Any:
    return stopped.database.chat_messages.find_one({"status": "IMPORT_OK", "parent": 1}, sort=[("seq", 1)])


def test_it_agrees_with_records_of_every_end(stopped: Stopped) -> None:
    verdict = stopped.check()
    verdict.assert_agrees()
    rows = [line.split() for line in verdict.output.splitlines()]
    assert ["chats", "6", "5", "0", "1", "0", "5", "6"] in rows
    parked = stopped.database.parked.count_documents({})
    assert parked > 0
    assert ["chat_messages", "240", str(238 - parked), "1", "1", str(parked), str(238 - parked), "240"] in rows
    assert ["chat_messages", str(238 - parked), "0", "0", str(parked), "1", "0", "0", "0"] in rows


def test_status_says_which_chats_are_not_done_and_counts_the_others(stopped: Stopped) -> None:
    state = json.loads(stopped.status.read_text(encoding="utf-8"))
    chats = state["ledger_per_parent"]["chat_messages"]
    parked = stopped.database.parked.count_documents({})
    assert (chats["unsettled"], chats["settled"]) == (2, 4)
    assert {row["key"]: (row["skipped"], row["dead"], row["waiting"]) for row in chats["rows"]} == {
        "source:chat:1": ({"discarded": 1}, 1, 0),
        f"source:chat:{REFUSED_CHAT}": ({}, 0, parked),
    }
    every = json.loads(stopped.project.run("status", "--json", "--chats", "all"))["ledger_per_parent"]["chat_messages"]
    assert (len(every["rows"]), every["unsettled"], every["settled"]) == (6, 2, 4)
    assert all(row in every["rows"] for row in chats["rows"])
    one = json.loads(stopped.project.run("status", "--json", "--chat", "1"))["ledger_of_chat"]
    assert one["chat_messages"].items() <= chats["rows"][0].items()
    assert (one["key"], one["state"]) == ("source:chat:1", "closed")
    said = stopped.project.run("status", "--chat", "1")
    assert "source:chat:1: closed" in said
    assert "1 skipped (1 discarded), 1 dead, 0 waiting" in said
    assert "no run has listed chat 77" in stopped.project.run("status", "--chat", "77", code=2)


def test_the_report_has_the_ledger_of_chats_that_are_not_done(stopped: Stopped) -> None:
    chats = stopped.project.report()["ledger_per_parent"]["chat_messages"]
    assert [row["key"] for row in chats["rows"]] == ["source:chat:1", f"source:chat:{REFUSED_CHAT}"]
    page = (stopped.project.local / "report" / "chats.html").read_text(encoding="utf-8")
    assert "Chat messages in 2 of 6 chats: not all of them done" in page


@pytest.mark.parametrize("status", ["NEW", "IMPORT_ERR", "SKIPPED"])
def test_a_status_that_was_flipped_is_named(stopped: Stopped, status: str) -> None:
    record = a_done(stopped)
    with stopped.changed(stopped.database.chat_messages, record, {"$set": {"status": status}}):
        stopped.check().assert_names(f"{record['_id']}: status {status}", "status of chat_messages")


def test_a_record_called_done_that_was_never_imported_is_named(stopped: Stopped) -> None:
    parked = stopped.database.chat_messages.find_one({"parent": REFUSED_CHAT})
    with stopped.changed(stopped.database.chat_messages, parked, {"$set": {"status": "IMPORT_OK"}}):
        stopped.check().assert_names(f"{parked['_id']}: status IMPORT_OK")


def test_a_record_that_was_removed_is_named(stopped: Stopped) -> None:
    record = a_done(stopped)
    with stopped.changed(stopped.database.chat_messages, record, None):
        stopped.check().assert_names(
            "source:chat:1: page_log's page",
            f"{record['_id']}: at the target, but no record",
            f"{record['_id']}: on the portal, and never read",
        )


def test_a_listed_chat_that_has_no_name_is_read_and_dead(stopped: Stopped, tmp_path: Path) -> None:
    key = "source:chat:unidentified:0123456789abcdef"
    reject = {"_id": f"reject:{key}", "kind": "reject", "of": "chats", "family": "chats", "run": "r", "stored": True}
    record = {"_id": key, "seq": 0, "parent": None, "payload": None, "payload_hash": "h", "status": "IMPORT_ERR"}
    letter = {"_id": f"{key}@1", "entity": "chats", "key": key, "parent": None, "seq": 0, "state": "dead"}
    database = stopped.database
    there: list[tuple[Collection[dict[str, Any]], dict[str, Any]]] = [
        (database.source_inventory, reject),
        (database.chats, {**record, "version": 1}),
        (database.dead_letters, {**letter, "version": 1, "service": "extractor", "copied": True}),
    ]
    for collection, row in there:
        collection.insert_one(row)
    try:
        status = save_status(stopped.project, tmp_path / "status.json")
        assert json.loads(status.read_text(encoding="utf-8"))["ledger"]["chats"]["dead"] == 2
        check(status).assert_agrees()
        with stopped.changed(database.chats, there[1][1], None):
            check(status).assert_names("chats: 7 read, but 6 done")
    finally:
        for collection, row in there:
            collection.delete_one({"_id": row["_id"]})


def test_a_payload_that_is_not_what_its_hash_says_is_named(stopped: Stopped) -> None:
    record = a_done(stopped)
    with stopped.changed(stopped.database.chat_messages, record, {"$set": {"payload.text": "other"}}):
        stopped.check().assert_names(f"{record['_id']}: its payload does not give its payload_hash")


def test_an_interval_of_the_page_log_that_was_removed_is_named(stopped: Stopped) -> None:
    page = stopped.database.page_log.find_one({"parent": 1, "count": {"$gt": 0}})
    with stopped.changed(stopped.database.page_log, page, None):
        stopped.check().assert_names("source:chat:1: page_log", "source:chat:1: page_log counts")


def test_an_interval_that_was_read_twice_is_named(stopped: Stopped) -> None:
    page = stopped.database.page_log.find_one({"parent": 1})
    again = {**page, "_id": "twice"}
    stopped.database.page_log.insert_one(again)
    try:
        stopped.check().assert_names("source:chat:1: page_log has an overlap")
    finally:
        stopped.database.page_log.delete_one({"_id": "twice"})


def test_a_parked_row_that_was_removed_is_named(stopped: Stopped) -> None:
    row = stopped.database.parked.find_one({})
    with stopped.changed(stopped.database.parked, row, None):
        stopped.check().assert_names(f"{row['_id']}: {row['key']} version {row['version']} is committed, and neither")


@pytest.mark.parametrize("service", ["extractor", "importer"])
def test_a_dead_letter_that_was_removed_is_named(stopped: Stopped, service: str) -> None:
    letter = stopped.database.dead_letters.find_one({"service": service, "state": "dead"})
    with stopped.changed(stopped.database.dead_letters, letter, None):
        where = f"{letter['key']}: version {letter['version']} is dead" if service == "extractor" else letter["_id"]
        stopped.check().assert_names(where)


def test_a_text_that_was_changed_at_the_target_is_named_and_not_shown(stopped: Stopped) -> None:
    message = stopped.target.messages.find_one({"source_chat_id": 1, "text": {"$ne": ""}}, sort=[("_id", 1)])
    with stopped.changed(stopped.target.messages, message, {"$set": {"text": message["text"] + " tampered"}}):
        verdict = stopped.check()
    key = f"{_PREFIX}{message['_id']}"
    verdict.assert_names(f"{key}: the target's data do not give its hash text", f"{key}: not as on the portal: text")
    assert "tampered" not in verdict.output
    assert message["text"][:12] not in verdict.output


def test_each_field_that_the_target_has_otherwise_than_the_portal_is_named(stopped: Stopped) -> None:
    expected: dict[str, set[str]] = {}
    with ExitStack() as changes:
        for collection, prefix, usual in _ROWS:
            rows = list(stopped.target[collection].find(usual, sort=[("_id", 1)]))
            tampered = TAMPERED[collection]
            for row, place in zip(rows, range(len(tampered)), strict=False):
                mine = tampered[place :: len(rows)]
                change = {name: value for _, told in mine for name, value in told.items()}
                changes.enter_context(stopped.changed(stopped.target[collection], row, {"$set": change}))
                expected[f"{prefix}{row['_id']}"] = {field for field, _ in mine}
        said = [line.partition(": not as on the portal: ") for line in stopped.check().named]
    assert {key: set(fields.split(", ")) for key, _, fields in said if fields} == expected


def test_a_record_that_is_missing_at_the_target_is_named(stopped: Stopped) -> None:
    message = stopped.target.messages.find_one({"source_chat_id": 1})
    with stopped.changed(stopped.target.messages, message, None):
        stopped.check().assert_names(f"{_PREFIX}{message['_id']}: missing at the target")


@pytest.mark.parametrize("chat", [1, 99])
def test_a_record_too_many_at_the_target_is_named(stopped: Stopped, chat: int) -> None:
    message = stopped.target.messages.find_one({"source_chat_id": 1})
    extra = {**message, "_id": 999_999, "target_id": "another-one", "source_chat_id": chat}
    stopped.target.messages.insert_one(extra)
    try:
        stopped.check().assert_names(f"{_PREFIX}999999: ")
    finally:
        stopped.target.messages.delete_one({"_id": 999_999})


def test_an_offset_moved_by_hand_past_a_record_that_was_never_imported_is_named(stopped: Stopped) -> None:
    record = a_done(stopped)
    place = stopped.publish(record["_id"], record["version"] + 1, b"1")
    stopped.check().assert_agrees()
    with stopped.committed(place, 1) as offset:
        where = f"{place.topic}/{place.partition}/{offset}: {record['_id']} version {record['version'] + 1}"
        stopped.check().assert_names(f"{where} is committed, and neither")


@pytest.mark.parametrize(
    "end",
    [{"status": "SKIPPED", "skip_reason": "parent.discarded"}, {"version": 2**53, "due": True}],
    ids=["skipped with its parent", "superseded by newer content"],
)
def test_a_delivery_that_ended_without_a_row_of_its_own_agrees(stopped: Stopped, tmp_path: Path, end: Any) -> None:
    row = stopped.database.parked.find_one({})
    record = stopped.database.chat_messages.find_one({"_id": row["key"]})
    with (
        stopped.changed(stopped.database.parked, row, None),
        stopped.changed(stopped.database.chat_messages, record, {"$set": end}),
    ):
        check(save_status(stopped.project, tmp_path / "status.json")).assert_agrees()


def test_a_record_that_waits_where_nobody_looks_is_named(stopped: Stopped) -> None:
    record = a_done(stopped)
    newer = {"$set": {"status": "NEW", "version": record["version"] + 2}}
    with stopped.changed(stopped.database.chat_messages, record, newer):
        stopped.check().assert_names(f"{record['_id']}: waits, and is neither due, parked nor on its topic")


def test_a_message_of_the_portal_that_nobody_read_is_named(stopped: Stopped, tmp_path: Path) -> None:
    folder = shutil.copytree(stopped.project.data, tmp_path / "data")
    rows = [json.loads(line) for line in (folder / "messages.jsonl").read_text(encoding="utf-8").splitlines()]
    last = max(row["id"] for row in rows if row["chat_id"] == 1)
    moved = next(row for row in rows if row["chat_id"] == 2 and row["id"] < last)
    changed = next(row for row in rows if row["chat_id"] == 3)
    moved["chat_id"], changed["reply_to"] = 1, 7
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "messages.jsonl").write_text(text, encoding="utf-8")
    check(stopped.status, "--portal-data", str(folder)).assert_names(
        f"{_PREFIX}{moved['id']}: on the portal, and never read",
        f"{_PREFIX}{moved['id']}: at the target, and not on the portal",
        f"{_PREFIX}{changed['id']}: not as on the portal: reply_to",
    )


def test_all_that_was_tampered_with_is_undone(stopped: Stopped) -> None:
    stopped.check().assert_agrees()


def test_it_agrees_in_mid_run_and_with_a_portal_that_has_changed(
    stack: Addresses, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("moving")
    for project in a_project(folder, stack, **_SLOW):
        moving = in_mid_run(project, folder / "moving.json")
        assert moving, "no look was over before the run was"
        control = project.control()
        mine = sorted(item["data"]["id"] for item in project.listed("chat_messages") if item["data"]["chat_id"] == 1)
        control.change("edit", chat_id=1, message_id=mine[1], text="исправлено")
        control.change("delete", chat_id=1, message_id=mine[2])
        control.change("erase", chat_id=1, message_id=mine[3])
        control.change("post", chat_id=1, author_id=1, text="новое")
        status = save_status(project, folder / "status.json")
        now = ("--portal-control", control.url)
        check(status, *now).assert_names(f"{_PREFIX}{mine[1]}: not as on the portal: text, edited")
        project.run("migrate", "chats")
        check(save_status(project, folder / "status.json"), *now).assert_agrees()


def in_mid_run(project: Running, status: Path) -> int:
    """How often it was looked at while the chats' run went on; every look has to agree."""
    looks = 0
    with project.start("demo", "--data", str(project.data), "--bucket", "off", "--keep", "--max-rate", "1") as demo:
        try:
            while demo.poll() is None:
                if chats_are_moving(project):
                    check(save_status(project, status), "--portal-data", str(project.data)).assert_agrees()
                    looks += chats_are_moving(project)
        finally:
            demo.kill()
        output = demo.stdout.read() if demo.stdout is not None else ""
    assert demo.returncode == 0, output[-3000:]
    return looks


def chats_are_moving(project: Running) -> bool:
    if not (project.local / "project.json").exists():
        return False
    return bool(project.database().runs.count_documents({"family": "chats", "state": "running"}))
