"""Bodies too large are refused before they are read, and memory does not grow with what passes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from tests.contract.chat.target_process import Speaker, TargetProcess, running_target
from tests.unit.chat.records import chat, message, wire

from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def small(stack_addresses: Addresses, project: str, folder: Path) -> Iterator[TargetProcess]:
    limits = {"CHATFERRY_BODY_BYTES_MAX": "100000", "CHATFERRY_BATCH_ITEMS_MAX": "3"}
    with running_target(folder, stack_addresses.mongodb, f"{project}-small", **limits) as running:
        yield running


def raw(target: TargetProcess, head: str, body: bytes = b"", credentials: str = "") -> bytes:
    """The answer to a request of which only this much is ever sent."""
    parts = urlsplit(target.url)
    path = f"{credentials or parts.path}/import.chats.batch"
    with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=10) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body)
        answer = b""
        while b"}" not in answer and (more := connection.recv(65_536)):
            answer += more
        return answer


def test_a_body_announced_as_too_large_is_refused_unread(small: TargetProcess) -> None:
    answer = raw(small, "Content-Length: 100001")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"BODY_TOO_LARGE" in answer
    assert b"connection: close" in answer


def test_a_body_that_turns_out_too_large_is_refused_before_its_end(small: TargetProcess) -> None:
    chunk = b"18000\r\n" + b" " * 0x18000 + b"\r\n"
    answer = raw(small, "Transfer-Encoding: chunked", chunk * 2)
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_wrong_secret_is_refused_before_the_body(small: TargetProcess) -> None:
    answer = raw(small, "Content-Length: 90000", credentials="/rest/1/wrong-wrong")
    assert answer.startswith(b"HTTP/1.1 401")


def test_a_batch_over_the_limit_is_refused_whole(small: TargetProcess) -> None:
    speaker = Speaker(small.url)
    items = [wire("chats", chat(n)) for n in range(4)]
    answer = speaker.send("batch", {"entity": "chats", "items": items})
    assert (answer.status_code, answer.json()["error"]) == (400, "BATCH_TOO_LARGE")
    assert speaker.done("count", entity="chats") == {"count": 0}
    assert speaker.statuses("chats", items[:3]) == ["created"] * 3
    speaker.close()


def test_large_records_make_short_pages_and_none_is_lost(chats: Speaker) -> None:
    chats.batch("chats", [wire("chats", chat(1))])
    for first in range(0, 300, 60):
        texts = [wire("chat_messages", message(n, 1, text="Ж" * 50_000)) for n in range(first, first + 60)]
        assert set(chats.statuses("chat_messages", texts)) == {"created"}
    page = chats.done("list", entity="chat_messages", parent="source:chat:1")
    assert len(page["items"]) < 300
    assert page["next"] is not None
    found = [one["data"]["id"] for one in chats.walk("chat_messages", parent="source:chat:1")]
    assert found == list(range(300))


def test_memory_does_not_grow_with_volume(target: TargetProcess, chats: Speaker) -> None:
    process = psutil.Process(target.process.pid)
    chats.batch("chats", [wire("chats", chat(9))])

    def send(first: int, last: int) -> int:
        for start in range(first, last, 500):
            chats.batch("chat_messages", [wire("chat_messages", message(n, 9)) for n in range(start, start + 500)])
        for _ in chats.walk("chat_messages", parent="source:chat:9"):
            pass
        return process.memory_info().rss

    warm = send(1_000_000, 1_005_000)
    after = send(1_005_000, 1_025_000)
    assert after < warm * 1.1
    assert after < 200 * 1024 * 1024
