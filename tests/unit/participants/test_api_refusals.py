"""Nonsense is refused in one sentence, strangers before anything is looked at, and oddities are no fault."""

from __future__ import annotations

import pytest
from tests.unit.participants.readers import OTHER_KEY, Service, confirmed, entry, service

LINKED = [entry(chat, f"чат {chat}", max_chat=-chat) for chat in range(1, 6)]


async def _cached() -> Service:
    cached = {one.id: confirmed(100 + one.id, age_s=60) for one in LINKED}
    return await service(LINKED, change=lambda sources: sources.cached.update(cached))


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"limit": "0"}, 422),
        ({"limit": "201"}, 422),
        ({"limit": "9" * 5_000}, 422),
        ({"limit": "1e3"}, 422),
        ({"limit": "٥"}, 422),
        ({"limit": ""}, 422),
        ({"sort": "size"}, 422),
        ({"sort": "TITLE"}, 422),
        ({"order": "up"}, 422),
        ({"search": "ч" * 201}, 422),
        ({"search": "ч" * 10_000}, 422),
        ({"fresh_participants": "yes"}, 422),
        ({"cursor": ""}, 400),
        ({"cursor": "bm9uZQ"}, 400),
        ({"cursor": "A" * 10_000}, 400),
        ({"cursor": "ё\0"}, 400),
    ],
)
async def test_nonsense_is_refused_in_one_sentence_that_holds_nothing_of_it(query: dict[str, str], status: int) -> None:
    one = await _cached()
    answer = await one.got("/chats/all", **query)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    assert error["message"].endswith(".")
    assert len(answer.content) < 300
    assert one.sources.loads == []


async def test_a_cursor_of_another_query_is_refused() -> None:
    one = await _cached()
    cursor = (await one.got("/chats/all", sort="title", limit=2)).json()["next_cursor"]
    assert (await one.got("/chats/all", sort="title", limit=2, cursor=cursor)).status_code == 200
    assert (await one.got("/chats/all", sort="created", limit=2, cursor=cursor)).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        {"colour": "red"},
        {"search": "(.*)$%\\\0"},
        {"search": "ч" * 200},
        {"search": "ﷺ" * 200},
        {"search": " ЧАТ "},
        {"limit": "200"},
    ],
)
async def test_what_is_unknown_or_odd_is_no_fault(query: dict[str, str]) -> None:
    assert (await (await _cached()).got("/chats/all", **query)).status_code == 200


@pytest.mark.parametrize("chat", ["9223372036854775808", "-9223372036854775809", "1.0", "+1", "007", "-0", "x", "１"])
async def test_an_id_that_is_no_whole_number_of_64_bits_is_422(chat: str) -> None:
    answer = await (await _cached()).got(f"/chats/{chat}/participants")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b'{"ids": 1}',
        b'{"ids": [true]}',
        b'{"ids": ["1"]}',
        b'{"ids": [1.5]}',
        b'{"ids": [null]}',
        b'{"ids": [9223372036854775808]}',
        b'{"ids": [' + b"9" * 6_000 + b"]}",
        b'{"ids": [1], "deadline_ms": 0}',
        b'{"ids": [1], "deadline_ms": 30001}',
        b'{"ids": [1], "fresh": "yes"}',
        b'{"ids": [' + b",".join(b"%d" % chat for chat in range(1_001)) + b"]}",
        b"[" * 10_000,
    ],
)
async def test_a_body_that_asks_for_no_counts_is_422(body: bytes) -> None:
    one = await _cached()
    async with one.client() as http:
        answer = await http.post("/chats/participants", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "INVALID_REQUEST")
    assert len(answer.content) < 300


async def test_a_whole_number_with_a_point_is_one() -> None:
    one = await _cached()
    async with one.client() as http:
        answer = await http.post("/chats/participants", content=b'{"ids": [1.0, -1.2e16], "deadline_ms": 5.0}')
    assert (list(answer.json()["counts"]), answer.json()["unknown"]) == (["1"], [-12_000_000_000_000_000])


async def test_a_thousand_ids_are_answered_and_a_larger_body_is_413() -> None:
    one = await _cached()
    async with one.client() as http:
        full = await http.post("/chats/participants", json={"ids": list(range(-(2**63), -(2**63) + 1_000))})
        large = await http.post("/chats/participants", content=b" " * 70_000)
    assert (full.status_code, len(full.json()["unknown"])) == (200, 1_000)
    assert large.status_code == 413


@pytest.mark.parametrize("key", [None, "", "wrong"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/chats/all?limit=absurd"),
        ("POST", "/chats/participants"),
        ("GET", "/chats/x/participants"),
        ("PUT", "/chats/1/max"),
    ],
)
async def test_without_a_key_nothing_is_looked_at(key: str | None, method: str, path: str) -> None:
    one = await _cached()
    async with one.client(key) as http:
        answer = await http.request(method, path, content=b"{" * 100_000 if method != "GET" else None)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "INVALID_KEY")


async def test_a_key_that_asks_too_often_is_told_when_to_come_again_and_others_are_not_kept() -> None:
    one = await service(LINKED, rate=3)
    async with one.client() as http:
        answers = [await http.get("/chats/all") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["retry-after"] == "1"
    async with one.client(OTHER_KEY) as http:
        assert (await http.get("/chats/all")).status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/chats", 404), ("DELETE", "/chats/all", 405)])
async def test_other_paths_and_methods_are_refused_in_the_same_form(method: str, path: str, status: int) -> None:
    one = await _cached()
    async with one.client() as http:
        answer = await http.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message"}
