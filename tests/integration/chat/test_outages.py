"""Kills and outages: nothing half done is claimed as done, and what was done is found again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.contract.chat.target_process import Speaker, TargetProcess, running_target
from tests.integration.chat.cuttable import CuttableMongo
from tests.unit.chat.records import chat, message, wire

from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


@pytest.fixture
def mongo(stack_addresses: Addresses) -> Iterator[CuttableMongo]:
    relay = CuttableMongo(stack_addresses.mongodb)
    yield relay
    relay.close()


@pytest.fixture
def cut_target(mongo: CuttableMongo, project: str, folder: Path) -> Iterator[TargetProcess]:
    with running_target(folder, mongo.url, f"{project}-cut", CHATFERRY_MONGODB_TIMEOUT_MS="500") as running:
        yield running


def until(condition: Callable[[], bool], within_s: float = 15) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


def sent(numbers: range, chat_id: int, text: str = "hello") -> list[dict[str, Any]]:
    return [wire("chat_messages", message(n, chat_id, text=text)) for n in numbers]


def readiness(target: TargetProcess) -> httpx.Response:
    return httpx.get(f"{target.base}/readyz", timeout=10)


def test_without_mongodb_calls_are_503_and_the_target_is_not_ready(
    mongo: CuttableMongo, cut_target: TargetProcess
) -> None:
    speaker = Speaker(cut_target.url)
    speaker.batch("chats", [wire("chats", chat(1))])
    mongo.cut()
    for verb, body in {
        "batch": {"entity": "chat_messages", "items": sent(range(1, 3), 1)},
        "count": {"entity": "chats"},
        "get": {"entity": "chats", "keys": ["source:chat:1"]},
        "list": {"entity": "chats"},
    }.items():
        answer = speaker.send(verb, body)
        assert (answer.status_code, answer.json()["error"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert int(answer.headers["retry-after"]) >= 1
    until(lambda: readiness(cut_target).status_code == 503)
    assert "mongodb" in readiness(cut_target).json()["wrong"]
    assert httpx.get(f"{cut_target.base}/healthz").status_code == 200
    mongo.mend()
    until(lambda: readiness(cut_target).status_code == 200)
    assert speaker.statuses("chat_messages", sent(range(1, 3), 1)) == ["created"] * 2
    speaker.close()


def test_a_batch_cut_in_the_middle_is_not_claimed_and_can_be_sent_again(
    mongo: CuttableMongo, cut_target: TargetProcess
) -> None:
    speaker = Speaker(cut_target.url)
    speaker.batch("chats", [wire("chats", chat(2))])
    batch = sent(range(10_000, 10_400), 2, "x" * 2_000)
    mongo.cut_after(300_000)
    answer = speaker.send("batch", {"entity": "chat_messages", "items": batch})
    assert answer.status_code == 503
    mongo.mend()
    until(lambda: readiness(cut_target).status_code == 200)
    assert set(speaker.statuses("chat_messages", batch)) <= {"created", "unchanged"}
    assert speaker.done("count", entity="chat_messages", parent="source:chat:2") == {"count": 400}
    speaker.close()


def test_a_target_started_before_mongodb_waits_for_it(stack_addresses: Addresses, project: str, folder: Path) -> None:
    relay = CuttableMongo(stack_addresses.mongodb)
    relay.cut()
    timer = threading.Timer(3, relay.mend)
    timer.start()
    with running_target(folder, relay.url, f"{project}-late", CHATFERRY_MONGODB_TIMEOUT_MS="300") as late:
        assert timer.finished.is_set()
        speaker = Speaker(late.url)
        assert speaker.done("count", entity="chats") == {"count": 0}
        speaker.close()
    timer.join()
    relay.close()


def test_a_killed_target_has_what_it_answered_for_and_never_gives_an_id_twice(
    stack_addresses: Addresses, project: str, folder: Path
) -> None:
    ids: list[str] = []
    for turn in range(3):
        with running_target(folder, stack_addresses.mongodb, f"{project}-kill") as running:
            speaker = Speaker(running.url)
            speaker.batch("chats", [wire("chats", chat(3))])
            ids += [one["id"] for one in speaker.batch("chat_messages", sent(range(turn * 50, turn * 50 + 50), 3))]
            assert speaker.done("count", entity="chat_messages") == {"count": (turn + 1) * 50}
            speaker.close()
            running.kill()
    assert len(set(ids)) == 150


def test_neither_the_secret_nor_a_text_is_logged(target: TargetProcess, chats: Speaker) -> None:
    chats.batch("chats", [wire("chats", chat(77, title="hunter2-title"))])
    chats.send("batch", {"entity": "chats", "items": [{"key": "hunter2-key", "data": "hunter2-data"}]})
    chats.http.post(f"{chats.url}-hunter2/import.chats.batch", content=b"hunter2-body")
    chats.http.get(f"{chats.url}/hunter2-path")
    log = target.log.read_text()
    assert "service.started" in log
    assert "hunter2" not in log
    assert chats.url.rsplit("/", 1)[1] not in log
