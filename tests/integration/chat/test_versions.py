"""Whoever writes, however often and in whichever order: the target ends the same."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.contract.chat.target_process import Speaker, TargetProcess, running_target
from tests.unit.chat.records import chat, message, wire

from chatferry.common.adapters.mongo import Database
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


def sent(number: int, chat_id: int, version: int) -> dict[str, Any]:
    return wire("chat_messages", message(number, chat_id, text=f"version {version}"), version)


def at_once(urls: list[str], batches: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    def send(index: int) -> list[dict[str, Any]]:
        speaker = Speaker(urls[index % len(urls)])
        try:
            return speaker.batch("chat_messages", batches[index])
        finally:
            speaker.close()

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(send, range(len(batches))))


def test_the_same_batch_eight_times_at_once_is_kept_once(target: TargetProcess, chats: Speaker) -> None:
    chats.batch("chats", [wire("chats", chat(100))])
    batch = [sent(n, 100, 1) for n in range(1_000, 1_200)]
    answers = at_once([target.url], [batch] * 8)
    for entry in zip(*answers, strict=True):
        assert Counter(one["status"] for one in entry) == {"created": 1, "unchanged": 7}
        assert len({one["id"] for one in entry}) == 1
    assert chats.done("count", entity="chat_messages", parent="source:chat:100") == {"count": 200}


def test_any_order_of_versions_ends_with_the_newest(
    target: TargetProcess, chats: Speaker, stack_addresses: Addresses, project: str, folder: Path
) -> None:
    chats.batch("chats", [wire("chats", chat(200))])
    numbers = range(2_000, 2_050)
    chance = random.Random(7)
    batches = []
    for version in range(1, 25):
        batch = [sent(n, 200, version) for n in numbers]
        chance.shuffle(batch)
        batches.append(batch)
    chance.shuffle(batches)
    with running_target(folder, stack_addresses.mongodb, project) as second:
        answers = at_once([target.url, second.url], batches)
    ids: dict[str, set[str]] = {}
    for entry in (one for answer in answers for one in answer):
        # `unchanged`: written by this very batch, which had to look again because another one came between.
        assert entry["status"] in ("created", "updated", "unchanged", "stale"), entry
        ids.setdefault(entry["key"], set()).add(entry["id"])
    assert all(len(one) == 1 for one in ids.values())
    assert len({one for several in ids.values() for one in several}) == len(numbers)
    stored = list(chats.walk("chat_messages", parent="source:chat:200"))
    assert [(one["version"], one["data"]["text"]) for one in stored] == [(24, "version 24")] * len(numbers)
    assert [one["id"] for one in stored] == [ids[one["key"]].pop() for one in stored]


async def test_data_version_and_hash_lie_in_one_document(chats: Speaker, database: Database) -> None:
    item = wire("chats", chat(300, participant_ids=[5, 6]), 9)
    chats.batch("chats", [item])
    document = await database["chats"].find_one({"_id": 300})
    assert document is not None
    assert (document["version"], document["hash"], document["members"]) == (9, item["hash"], [5, 6])


async def test_an_edit_behind_the_protocol_shows_in_what_is_read_back(chats: Speaker, database: Database) -> None:
    chats.batch("chats", [wire("chats", chat(400))])
    chats.batch("chat_messages", [sent(4_000, 400, 1)])
    await database["messages"].update_one({"_id": 4_000}, {"$set": {"author": 1, "text": "cut"}})
    await database["chats"].update_one({"_id": 400}, {"$pull": {"members": 503}})
    told = chats.get("chat_messages", "source:chat:msg:4000")[0]["data"]
    assert (told["author_id"], told["text"]) == (1, "cut")
    assert chats.get("chats", "source:chat:400")[0]["data"]["participant_ids"] == [5]


async def test_hot_queries_have_an_index(chats: Speaker, database: Database) -> None:
    chats.batch("chats", [wire("chats", chat(500))])
    wanted: list[dict[str, Any]] = [
        {"find": "messages", "filter": {"source_chat_id": 1, "_id": {"$gt": 5}}, "sort": {"_id": 1}, "limit": 501},
        {"find": "messages", "filter": {"_id": {"$gt": 5}}, "sort": {"_id": 1}, "limit": 501},
        {"find": "messages", "filter": {"_id": {"$in": [1, 2]}}},
        {"find": "chats", "filter": {"target_id": {"$in": [1, 2]}}, "projection": {"target_id": 1}},
        {"count": "messages", "query": {"source_chat_id": 1}, "hint": "source_chat_id_1__id_1"},
        {"count": "messages", "query": {"_id": {"$gte": 1}}, "hint": "_id_"},
    ]
    for query in wanted:
        plan = str((await database.command("explain", query, verbosity="queryPlanner"))["queryPlanner"]["winningPlan"])
        assert "COLLSCAN" not in plan, plan
        assert "'SORT'" not in plan, plan
        assert ("COUNT_SCAN" in plan) == ("count" in query), plan


async def test_what_follows_a_message_that_the_database_refuses_waits_for_it_in_its_chat_only(
    chats: Speaker, database: Database
) -> None:
    chats.batch("chats", [wire("chats", chat(number)) for number in (300, 301)])
    batch = [sent(3_000, 300, 1), sent(3_001, 300, 1), sent(3_002, 301, 1), sent(3_003, 300, 1)]
    await database.command("collMod", "messages", validator={"_id": {"$ne": 3_001}})
    try:
        refused = chats.batch("chat_messages", batch)
    finally:
        await database.command("collMod", "messages", validator={})

    assert [(one["status"], one.get("code")) for one in refused] == [
        ("created", None),
        ("error", "NOT_KEPT"),
        ("created", None),
        ("error", "BEHIND"),
    ]
    assert [one["status"] for one in chats.batch("chat_messages", batch)] == [
        "unchanged",
        "created",
        "unchanged",
        "created",
    ]
