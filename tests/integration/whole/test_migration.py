"""The whole chain, once migrated: run again, changed at the portal, edited at the target."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from tests.integration.whole.running import Running, a_project, until

from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def project(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A demo that ended verified and stays up."""
    for running in a_project(tmp_path_factory.mktemp("whole"), stack):
        running.demo()
        yield running


def test_a_demo_ends_verified_with_everything_at_the_target(project: Running) -> None:
    project.assert_arrived()
    report = project.report()
    assert report["verified"] is True
    assert report["counts"]["chat_messages"] == {"source": 240, "extracted": 240, "imported": 240, "target": 240}
    assert report["ledger"]["chat_messages"] == {"read": 240, "done": 240, "skipped": {}, "dead": 0, "waiting": 0}
    assert report["participants"]["mapped_share"] == 1.0
    assert report["gaps"] == []
    assert (project.local / "report" / "chats.html").stat().st_size > 1000


def test_bots_that_the_list_of_users_lacks_are_counted_once(project: Running) -> None:
    assert project.report()["counts"]["users"] == {"source": 13, "extracted": 13, "imported": 13, "target": 13}


def test_status_says_where_everything_is_without_a_secret(project: Running) -> None:
    text = project.run("status", "--json")
    state = json.loads(text)
    url = Path(state["target"]["rest_url_file"])
    assert stat.S_IMODE(url.stat().st_mode) == 0o600
    secret = url.read_text(encoding="utf-8").strip().rpartition("/")[2]
    webhooks = (project.local / "secrets" / "webhooks").read_text(encoding="utf-8").split()
    assert all(one not in text for one in [secret, *[hook.rpartition("/")[2] for hook in webhooks]])
    assert {one["name"] for one in state["processes"]} == {"portal", "chat", "importer", "extractor", "verifier"}
    assert all(isinstance(one["pid"], int) for one in state["processes"])
    assert state["health"] == {name: {} for name in ("chat", "importer", "extractor", "verifier")}
    assert state["runs"][0]["state"] == "verified"


def test_secrets_and_texts_are_in_no_log(project: Running) -> None:
    target = project.run("status", "--json")
    secret = Path(json.loads(target)["target"]["rest_url_file"]).read_text(encoding="utf-8").strip().rpartition("/")[2]
    for file in (project.local / "logs").glob("*.log"):
        text = file.read_text(encoding="utf-8", errors="replace")
        assert secret not in text, file.name
        assert "жирно" not in text, file.name


def test_a_second_migration_moves_nothing_and_says_so(project: Running) -> None:
    before = project.listed("chat_messages")
    output = project.run("migrate", "chats")
    assert output.count("nothing was moved") == 2
    assert "verified" in output
    assert project.listed("chat_messages") == before


def _ends(project: Running, topic: str) -> tuple[int, int]:
    """How many records lie on a topic, and how many of them the importers have read."""

    async def ask() -> tuple[int, int]:
        name, group = f"{project.status()['project']}.{topic}", f"{project.status()['project']}.importer"
        admin = AIOKafkaAdminClient(bootstrap_servers=project.stack.kafka)
        consumer = AIOKafkaConsumer(bootstrap_servers=project.stack.kafka, enable_auto_commit=False)
        await admin.start()
        await consumer.start()
        try:
            [told] = await admin.describe_topics([name])
            parts = [TopicPartition(name, part["partition"]) for part in told["partitions"]]
            read = await admin.list_consumer_group_offsets(group)
            ends = await consumer.end_offsets(parts)
            return sum(ends.values()), sum(read[part].offset for part in parts if part in read)
        finally:
            await consumer.stop()
            await admin.close()

    return asyncio.run(ask())


def test_republish_sends_stored_records_again_and_all_stays_as_verified_as_it_was(project: Running) -> None:
    before, ledger = project.listed("chat_messages"), project.status()["ledger"]
    flags = {row["_id"]: row for row in project.database().entities.find({"_id": {"$in": ["users", "chats"]}})}
    assert flags["chats"]["VERIFIED_FLAG"] is True
    there, _ = _ends(project, "chat_messages")
    pages = project.database().page_log.count_documents({})
    output = project.run("republish", "chat_messages")
    assert "chat_messages: 240 records were sent again" in output
    until(lambda: _ends(project, "chat_messages") == (there + 240, there + 240), "the importer has skipped them")
    assert project.listed("chat_messages") == before
    assert project.status()["ledger"] == ledger
    after = {row["_id"]: row for row in project.database().entities.find({"_id": {"$in": ["users", "chats"]}})}
    assert after == flags
    assert project.database().page_log.count_documents({}) == pages
    assert project.status()["runs"][0]["state"] == "completed"
    assert "verified" in project.run("verify")
    assert "there is no entity 'cats'" in project.run("republish", "cats", code=2)


def test_after_changes_at_the_portal_only_they_are_moved(project: Running) -> None:
    before = {item["key"]: item for item in project.listed("chat_messages")}
    control = project.control()
    mine = sorted(item["data"]["id"] for item in before.values() if item["data"]["chat_id"] == 1)
    control.change("edit", chat_id=1, message_id=mine[1], text="исправлено")
    control.change("erase", chat_id=1, message_id=mine[2])
    control.change("erase", chat_id=1, message_id=mine[-1])
    new = control.change("post", chat_id=1, author_id=1, text="новое")
    output = project.run("migrate", "chats")
    assert "verified" in output
    after = {item["key"]: item for item in project.listed("chat_messages")}
    changed = {key for key, item in after.items() if before.get(key) != item}
    assert changed == {f"source:chat:msg:{number}" for number in (mine[1], mine[2], mine[-1], new)}
    assert after[f"source:chat:msg:{mine[1]}"]["data"]["text"] == "исправлено"
    gone = [after[f"source:chat:msg:{number}"]["data"] for number in (mine[2], mine[-1])]
    assert [(data["deleted"], data["text"]) for data in gone] == [(True, ""), (True, "")]
    report = project.report()
    assert report["ledger"]["chat_messages"]["read"] == report["ledger"]["chat_messages"]["done"] == 241


def test_what_was_read_before_is_imported_by_the_next_run_and_not_called_nothing(project: Running) -> None:
    def read_alone() -> bool:
        project.control().change("post", chat_id=1, author_id=1, text="прочитано раньше")
        return "chats: get done (waiting: 1); nothing was verified" in project.run(
            "migrate", "chats", "--phase", "get", "--no-users"
        )

    # The importer may go on for a moment after a run that had a set.
    until(read_alone, "a message that waits")
    output = project.run("migrate", "chats", "--no-users")
    assert "nothing has changed at the portal since the last run; imported of what had waited: 1" in output


def mismatches(project: Running) -> list[dict[str, Any]]:
    database = project.database()
    report = database.verify_reports.find_one({"finished_at": {"$ne": None}}, sort=[("finished_at", -1)])
    assert report is not None
    return list(database.mismatches.find({"report": report["_id"]}))


@pytest.fixture
def target(project: Running) -> Iterator[Any]:
    """The target's own database; what a test did to it is undone."""
    database = project.database("chatferry_chat_")
    before = {name: list(database[name].find()) for name in ("users", "chats", "messages")}
    yield database
    for name, documents in before.items():
        database[name].delete_many({})
        database[name].insert_many(documents)


def assert_found(project: Running, key: str, field: str | None, checks: set[str]) -> None:
    output = project.run("verify", code=1)
    assert "not verified" in output
    assert project.report()["verified"] is False
    found = [one for one in mismatches(project) if one["key"] == key]
    assert found, mismatches(project)
    assert checks & {one["check"] for one in found}, found
    assert field is None or any(str(one["field"]).startswith(field) for one in found), found


def test_a_text_cut_by_one_character_is_found(project: Running, target: Any) -> None:
    message = target.messages.find_one({"text": {"$ne": ""}})
    target.messages.update_one({"_id": message["_id"]}, {"$set": {"text": message["text"][:-1]}})
    assert_found(project, f"source:chat:msg:{message['_id']}", "text", {"content", "sample"})
    detail = [one for one in mismatches(project) if one["field"] == "text"]
    assert message["text"][:12] not in json.dumps(detail, default=str, ensure_ascii=False)


def test_a_wrong_author_is_found(project: Running, target: Any) -> None:
    message = target.messages.find_one({"author": {"$exists": True}})
    target.messages.update_one({"_id": message["_id"]}, {"$set": {"author": message["author"] + 1}})
    assert_found(project, f"source:chat:msg:{message['_id']}", "author_id", {"content"})


def test_a_date_moved_by_an_hour_is_found(project: Running, target: Any) -> None:
    message = target.messages.find_one({})
    moved = message["sent"]["at"] + timedelta(hours=1)
    target.messages.update_one({"_id": message["_id"]}, {"$set": {"sent.at": moved}})
    assert_found(project, f"source:chat:msg:{message['_id']}", "sent_at", {"content"})


def test_a_message_that_is_missing_is_found(project: Running, target: Any) -> None:
    message = target.messages.find_one({})
    target.messages.delete_one({"_id": message["_id"]})
    assert_found(project, f"source:chat:msg:{message['_id']}", None, {"missing"})


def test_a_message_too_many_is_found(project: Running, target: Any) -> None:
    message = target.messages.find_one({})
    target.messages.insert_one({**message, "_id": 999_999, "target_id": "another-one"})
    assert_found(project, "source:chat:msg:999999", None, {"extra"})


def test_a_participant_that_is_missing_is_found(project: Running, target: Any) -> None:
    chat = target.chats.find_one({"members.1": {"$exists": True}})
    target.chats.update_one({"_id": chat["_id"]}, {"$pop": {"members": 1}})
    assert_found(project, f"source:chat:{chat['_id']}", "participant_ids", {"participants", "content"})


def test_undone_edits_are_verified_again(project: Running) -> None:
    assert "verified" in project.run("verify")


def test_a_second_demo_in_the_same_place_is_refused_and_harms_nothing(project: Running) -> None:
    before = project.status()["processes"]
    output = project.demo(code=2)
    assert "a demo runs in" in output
    assert "end it with `chatferry down`, or set CHATFERRY_LOCAL to another folder" in output
    assert project.status()["processes"] == before


def test_a_demo_in_another_folder_beside_it_is_verified(project: Running, tmp_path: Path) -> None:
    for other in a_project(tmp_path, project.stack):
        other.demo()
        other.assert_arrived()
        assert other.status()["project"] != project.status()["project"]
    assert "verified" in project.run("verify")


def test_a_taken_port_is_one_sentence(project: Running, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        secret = {"CHATFERRY_CHAT_WEBHOOK_SECRET": "secret-of-nobody", "CHATFERRY_HTTP_PORT": port}
        command = [sys.executable, "-m", "chatferry.chat"]
        ended = subprocess.run(
            command, env={**project.environment, **secret}, capture_output=True, text=True, timeout=30, check=False
        )
    assert ended.returncode == 1
    assert f"CHATFERRY_HTTP_PORT: 127.0.0.1:{port} cannot be bound" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_test_limit_proves_nothing_and_says_so(project: Running) -> None:
    output = project.run("migrate", "chats", "--test-limit", "2", code=1)
    assert "test limit" in output
    assert [run["family"] for run in project.status()["runs"][:2]] == ["chats", "users"]
    limited = project.status()["runs"][0]["run"]
    assert project.database().entities.find_one({"_id": "chats"})["verified_run"] != limited
    assert "verified" in project.run("migrate", "chats")


def test_a_record_on_the_topic_that_nobody_can_read_is_a_dead_letter_and_the_run_says_so(project: Running) -> None:
    async def write_garbage() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=project.stack.kafka)
        await producer.start()
        topic = f"{project.status()['project']}.chat_messages"
        headers = [("ce_subject", b"\xff\xfe")]
        await producer.send_and_wait(topic, b"{ no json \xff", key=b"1", headers=headers)
        await producer.stop()

    asyncio.run(write_garbage())
    database = project.database()
    until(lambda: database.dead_letters.count_documents({"state": "dead"}) == 1, "the dead letter")
    letter = database.dead_letters.find_one({"state": "dead"})
    assert letter["topic"].endswith("chat_messages")
    output = project.run("migrate", "chats", code=1)
    assert "dead" in output
    report = project.report()
    assert report["dead_letters"]["dead"] == 1
    assert report["full"]["different"] == report["full"]["missing"] == 0
    part = project.run("migrate", "chats", "--phase", "set", code=1)
    assert "1 record of chat_messages is dead: `chatferry dlq list`" in part
