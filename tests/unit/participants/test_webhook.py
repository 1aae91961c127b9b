"""MAX's events enter at once, or not at all: then MAX sends them again."""

from __future__ import annotations

import json

import httpx
import pytest
from tests.unit.participants.readers import SECRET, Service, service

BODY = json.dumps(
    {"update_type": "user_added", "timestamp": 1_700_000_000_000, "chat_id": -1, "user": {"user_id": 7}}
).encode()


async def _sent(one: Service, body: bytes, secret: str | None = SECRET) -> httpx.Response:
    headers = {} if secret is None else {"x-max-bot-api-secret": secret}
    async with one.client(key=None) as http:
        return await http.post("/max/updates", content=body, headers=headers)


def _outcomes(one: Service) -> dict[str, float]:
    names = ("taken", "refused", "too_large", "broken", "away")
    counted = {name: one.value("participants_webhook_events_total", outcome=name) for name in names}
    return {name: value for name, value in counted.items() if value}


async def test_an_event_is_passed_on_as_it_came_and_answered_with_200() -> None:
    one = await service()
    answer = await _sent(one, BODY)
    assert (answer.status_code, answer.content) == (200, b"{}")
    assert [(update.type, update.chat, body) for update, body in one.inbox.taken] == [("user_added", -1, BODY)]
    assert _outcomes(one) == {"taken": 1}
    assert one.hearing.came


@pytest.mark.parametrize(
    "more",
    [
        {"update_type": "of_tomorrow"},
        {"new_field": {"deep": [1]}},
        {"user": {"user_id": 7, "new": None}},
        {"chat_id": -(2**63)},
    ],
)
async def test_types_and_fields_that_nobody_knows_are_no_fault(more: dict[str, object]) -> None:
    one = await service()
    assert (await _sent(one, json.dumps({**json.loads(BODY), **more}).encode())).status_code == 200
    assert len(one.inbox.taken) == 1


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET.upper()])
async def test_a_wrong_secret_is_401_and_nothing_is_passed_on(secret: str | None) -> None:
    one = await service()
    answer = await _sent(one, BODY, secret)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "INVALID_SECRET"
    assert one.inbox.taken == []
    assert _outcomes(one) == {"refused": 1}
    assert not one.hearing.came


async def test_a_key_of_readers_does_not_open_it() -> None:
    one = await service()
    async with one.client() as http:
        assert (await http.post("/max/updates", content=BODY)).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"update_type": "user_added", "timestamp": 1}',
        b'{"update_type": "user_added", "timestamp": "soon", "chat_id": -1}',
        b'{"update_type": "user_added", "timestamp": 1, "chat_id": ' + b"9" * 30 + b"}",
        b"[" * 4_000,
    ],
)
async def test_a_body_that_is_no_event_is_400_and_counted(body: bytes) -> None:
    one = await service()
    answer = await _sent(one, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "BROKEN_UPDATE"
    assert one.inbox.taken == []
    assert _outcomes(one) == {"broken": 1}


async def test_a_body_that_is_too_large_is_413() -> None:
    one = await service()
    answer = await _sent(one, BODY + b" " * 5_000)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert _outcomes(one) == {"too_large": 1}


async def test_while_kafka_is_away_max_is_asked_to_send_again() -> None:
    one = await service()
    one.inbox.away = True
    answer = await _sent(one, BODY)
    assert answer.status_code == 503
    assert _outcomes(one) == {"away": 1}
    one.inbox.away = False
    assert (await _sent(one, BODY)).status_code == 200


async def test_what_is_answered_to_a_broken_event_holds_nothing_of_it() -> None:
    one = await service()
    answer = await _sent(one, b'{"update_type": {"private": "text"}, "timestamp": "private", "private": 1}')
    assert answer.status_code == 400
    assert "private" not in answer.text
