"""The shipped target and the verifier as a process: edits in the target's own database are found and named."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.contract.chat.target_process import running_target
from tests.integration.verifier.verifier_world import World, a_world, until

from chatferry.common.adapters.mongo import Database, open_client, open_database
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
KEY = "source:chat:msg:"


@pytest.fixture
async def shipped(stack: Addresses, tmp_path: Path) -> AsyncIterator[World]:
    project = f"v{os.urandom(4).hex()}"
    with running_target(tmp_path, stack.mongodb, project) as target:
        async with a_world(stack, target.url, project) as world:
            yield world
        client = open_client(stack.mongodb)
        await client.drop_database(f"chatferry_chat_{project}")
        client.close()


@pytest.fixture
async def behind(shipped: World, stack: Addresses) -> AsyncIterator[Database]:
    """The target's own database."""
    client = open_client(stack.mongodb)
    yield open_database(client, f"chatferry_chat_{shipped.settings.project}")
    client.close()


async def test_every_edit_behind_the_targets_back_is_named_to_record_and_field(
    shipped: World, behind: Database
) -> None:
    await shipped.fill(chats=3, messages=40)
    written = {"chat": {"$exists": True}, "author": {"$ne": None}}
    rows: list[Any] = await behind["messages"].find(written).sort("_id", 1).to_list(10)
    cut, author, date, lost, copied = rows[:5]
    await behind["messages"].update_one({"_id": cut["_id"]}, {"$set": {"text": cut["text"][:-1]}})
    await behind["messages"].update_one({"_id": author["_id"]}, {"$set": {"author": author["author"] + 1}})
    moved = date["sent"]["at"] + timedelta(hours=1)
    await behind["messages"].update_one({"_id": date["_id"]}, {"$set": {"sent.at": moved}})
    await behind["messages"].delete_one({"_id": lost["_id"]})
    await behind["messages"].insert_one({**copied, "_id": 9_999_999, "target_id": 9_999_999})
    chat: Any = await behind["chats"].find_one({"_id": 102})
    await behind["chats"].update_one({"_id": 102}, {"$pull": {"members": chat["members"][0]}})
    report = await shipped.verified()
    found = {(row["key"], row["check"], row["field"]) for row in await shipped.mismatches()}
    assert report["verified"] is False
    assert {
        (f"{KEY}{cut['_id']}", "content", "text"),
        (f"{KEY}{author['_id']}", "content", "author_id"),
        (f"{KEY}{date['_id']}", "content", "sent_at.utc"),
        (f"{KEY}{lost['_id']}", "missing", ""),
        (f"{KEY}9999999", "extra", ""),
        ("source:chat:102", "content", "participant_ids"),
        ("source:chat:102", "participants", f"source:user:{chat['members'][0]}"),
    } <= found
    assert report["full"]["missing"] == report["full"]["extra"] == 1
    assert report["full"]["different"] == 4


async def test_a_message_hung_under_another_chat_or_under_none_is_named(shipped: World, behind: Database) -> None:
    await shipped.fill(chats=3, messages=20)
    other: Any = await behind["chats"].find_one({"_id": 102})
    rows: list[Any] = await behind["messages"].find({"source_chat_id": 101}).sort("_id", 1).to_list(4)
    edits: list[Any] = [{"$set": {"chat": chat}} for chat in (other["target_id"], 9_999_999, [1])]
    for message, edit in zip(rows, [*edits, {"$unset": {"chat": ""}}], strict=True):
        await behind["messages"].update_one({"_id": message["_id"]}, edit)
    report = await shipped.verified()
    found = {(row["key"], row["check"], row["field"]) for row in await shipped.mismatches()}
    assert report["verified"] is False
    assert {(f"{KEY}{message['_id']}", "content", "chat_id") for message in rows} <= found
    assert report["full"]["different"] == 4


async def test_the_process_verifies_and_ends_when_it_is_asked_to(shipped: World, tmp_path: Path) -> None:
    await shipped.fill()
    await shipped.ask()
    secret = shipped.target_url.rpartition("/")[2]
    (tmp_path / "target-url").write_text(shipped.target_url)
    log = tmp_path / "verifier.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "chatferry.verifier",
            env=environment(shipped, CHATFERRY_TARGET_URL_FILE=str(tmp_path / "target-url")),
            stdout=out,
            stderr=out,
        )
    try:
        report = await shipped.report()
        resident = psutil.Process(process.pid).memory_info().rss
    finally:
        process.terminate()
        code = await asyncio.wait_for(process.wait(), 20)
    assert (report["verified"], code) == (True, 0)
    assert resident < 200 * 1024 * 1024
    assert secret not in log.read_text()
    assert "Привет" not in log.read_text()


async def test_without_a_target_the_process_says_what_to_set(shipped: World) -> None:
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "chatferry.verifier"],
        env=environment(shipped),
        capture_output=True,
        timeout=60,
    )
    assert process.returncode == 2
    assert process.stderr.decode().strip() == (
        "chatferry verifier: CHATFERRY_TARGET_URL is not set, and neither is CHATFERRY_TARGET_URL_FILE"
    )


async def test_a_target_killed_in_the_middle_is_waited_for(shipped: World) -> None:
    """Nothing listens at the address: an outage, not a difference."""
    await shipped.fill(chats=2)
    good, shipped.target_url = shipped.target_url, "http://127.0.0.1:9/rest/1/s"
    await shipped.ask()

    async def away() -> bool:
        return "target" in shipped.context.health.outages

    async with shipped.at_work():
        await until(away)
    shipped.target_url = good
    async with shipped.at_work():
        assert (await shipped.report())["verified"] is True


def environment(world: World, **more: str) -> dict[str, str]:
    names = {name: value for name, value in os.environ.items() if not name.startswith("CHATFERRY_")}
    settings = world.settings
    return {
        **names,
        "CHATFERRY_PROJECT": settings.project,
        "CHATFERRY_KAFKA": settings.kafka,
        "CHATFERRY_MONGODB": settings.mongodb.get_secret_value(),
        "CHATFERRY_REDIS": settings.redis.get_secret_value(),
        **more,
    }
