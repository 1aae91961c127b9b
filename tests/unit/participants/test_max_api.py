"""What each answer of MAX is taken for: a count only when it surely is one."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from chatferry.common.clock import SystemClock
from chatferry.common.errors import ConfigurationError, OutageError
from chatferry.participants.adapters.max_api import HttpMax, MaxAddress
from chatferry.participants.domain.counts import Answer, MaxChatId, Verdict
from chatferry.participants.ports import MaxBusyError, MaxRefusedError, Membership

TOKEN = "planted-token-4711"
CHAT = MaxChatId(-(2**62))
NOW = datetime(2026, 3, 4, 6, 0, 0, tzinfo=UTC)
KNOWN: dict[str, Any] = {"chat_id": CHAT, "type": "chat", "status": "active", "participants_count": 17}


class _Clock(SystemClock):
    def now(self) -> datetime:
        return NOW


class _Max:
    """The adapter, and a platform that gives one answer to everything."""

    def __init__(self, answer: Callable[[httpx.Request], Any]) -> None:
        self.asked: list[httpx.Request] = []
        self.kinds: list[str] = []

        async def serve(request: httpx.Request) -> httpx.Response:
            self.asked.append(request)
            answered = answer(request)
            if asyncio.iscoroutine(answered):
                answered = await answered
            assert isinstance(answered, httpx.Response)
            return answered

        address = MaxAddress("https://max.example/base/", TOKEN, answer_s=0.2)
        self.api = HttpMax(address, _Clock(), self.kinds.append, httpx.MockTransport(serve))


def _says(status: int = 200, body: Any = None, **headers: str) -> _Max:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return _Max(
        lambda _: httpx.Response(status, content=content, headers={k.replace("_", "-"): v for k, v in headers.items()})
    )


def _error(code: str) -> dict[str, str]:
    return {"code": code, "message": "no"}


async def test_a_read_is_one_call_with_the_bare_token() -> None:
    max_ = _says(200, KNOWN)
    await max_.api.chat(CHAT)
    [asked] = max_.asked
    assert str(asked.url) == f"https://max.example/base/chats/{CHAT}"
    assert asked.headers["authorization"] == TOKEN


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, Answer(Verdict.COUNTED, 17)),
        ({"participants_count": 0}, Answer(Verdict.COUNTED, 0)),
        ({"last_event_time": 5, "title": "Отдел"}, Answer(Verdict.COUNTED, 17, 5, "Отдел")),
        ({"last_event_time": 2**63}, Answer(Verdict.COUNTED, 17, int(NOW.timestamp() * 1_000))),
        ({"last_event_time": None, "title": None, "icon": None}, Answer(Verdict.COUNTED, 17)),
        ({"last_event_time": "5", "title": 7}, Answer(Verdict.COUNTED, 17)),
        ({"type": "dialog", "participants_count": None}, Answer(Verdict.COUNTED, 2)),
        ({"chat_id": None, "status": None}, Answer(Verdict.COUNTED, 17)),
        ({"status": "removed", "participants_count": 0}, Answer(Verdict.GONE)),
        ({"status": "left", "title": "gone"}, Answer(Verdict.GONE, title="gone")),
        ({"status": "closed"}, Answer(Verdict.GONE)),
        ({"status": "suspended", "type": "dialog"}, Answer(Verdict.GONE)),
        ({"status": "a new one"}, Answer(Verdict.GONE)),
    ],
)
async def test_a_chat_counts_what_it_says_while_it_is_active(changes: dict[str, Any], answer: Answer) -> None:
    max_ = _says(200, KNOWN | changes)
    assert await max_.api.chat(CHAT) == answer
    assert max_.kinds == []


@pytest.mark.parametrize(
    "body",
    [
        {name: value for name, value in KNOWN.items() if name != "participants_count"},
        *(KNOWN | {"participants_count": wrong} for wrong in (None, -1, "17", 17.5, True, 2**31, [17])),
        KNOWN | {"chat_id": -8},
        [],
        b"",
        b"<html>502</html>",
        json.dumps(KNOWN).encode()[:-5],
    ],
)
async def test_a_body_that_surely_is_no_count_is_none(body: Any) -> None:
    max_ = _says(200, body)
    with pytest.raises(OutageError) as away:
        await max_.api.chat(CHAT)
    assert (away.value.part, max_.kinds) == ("max", ["body"])


@pytest.mark.parametrize(
    ("status", "body", "answer", "kind"),
    [
        (403, _error("chat.denied"), Answer(Verdict.DENIED), "denied"),
        (403, _error("access.denied"), Answer(Verdict.DENIED), "denied"),
        (404, _error("not.found"), Answer(Verdict.GONE), "not_found"),
        (404, _error("chat.not.found"), Answer(Verdict.GONE), "not_found"),
    ],
)
async def test_what_max_refuses_of_a_chat_is_an_answer_about_it_and_counted(
    status: int, body: Any, answer: Answer, kind: str
) -> None:
    max_ = _says(status, body)
    assert await max_.api.chat(CHAT) == answer
    assert max_.kinds == [kind]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, {}),
        (403, {"message": "Forbidden"}),
        (403, _error("bot.stopped")),
        (403, _error("not.found")),
        (404, {"message": "no Route matched with those values"}),
        (404, {"code": 404, "message": "Not Found"}),
        (404, _error("chat.denied")),
        (404, _error("NOT_FOUND")),
    ],
)
async def test_a_refusal_that_is_not_of_maxs_form_says_nothing_about_the_chat(status: int, body: Any) -> None:
    max_ = _says(status, body)
    for call in (max_.api.chat(CHAT), max_.api.membership(CHAT)):
        with pytest.raises(OutageError) as away:
            await call
        assert away.value.part == "max"
    assert max_.kinds == ["status", "status"]


@pytest.mark.parametrize(
    ("status", "body"), [(401, _error("verify.token")), (403, _error("verify.token")), (401, b"<html>"), (401, {})]
)
async def test_a_refused_token_is_told_apart(status: int, body: Any) -> None:
    max_ = _says(status, body)
    for call in (max_.api.chat(CHAT), max_.api.membership(CHAT), max_.api.subscribed("u", []), max_.api.updates(None)):
        with pytest.raises(MaxRefusedError):
            await call
    assert max_.kinds == ["refused"] * 4


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, _error("internal.error"), "server"),
        (502, b"<html>", "server"),
        (503, {}, "server"),
        (302, b"", "status"),
        (201, KNOWN, "status"),
        (400, _error("proto.payload"), "status"),
        (405, _error("method.not.allowed"), "status"),
        (403, b"<html>blocked</html>", "body"),
        (404, b"<html>nginx</html>", "body"),
    ],
)
async def test_what_is_no_answer_of_max_about_a_chat_is_an_outage(status: int, body: Any, kind: str) -> None:
    max_ = _says(status, body)
    with pytest.raises(OutageError) as away:
        await max_.api.chat(CHAT)
    assert (away.value.part, max_.kinds) == ("max", [kind])


@pytest.mark.parametrize(
    ("told", "wait_s"),
    [
        (None, None),
        ("5", 5.0),
        ("Wed, 04 Mar 2026 06:00:30 GMT", 30.0),
        ("Wed, 04 Mar 2026 05:00:00 GMT", 0.0),
        ("99999999", 3_600.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
async def test_a_429_says_how_long_to_wait_when_max_does(told: str | None, wait_s: float | None) -> None:
    max_ = _says(429, b"slow down", **({} if told is None else {"retry_after": told}))
    with pytest.raises(MaxBusyError) as busy:
        await max_.api.chat(CHAT)
    assert (busy.value.retry_after_s, max_.kinds) == (wait_s, ["busy"])


async def test_an_answer_that_trickles_ends_at_the_deadline_as_a_whole() -> None:
    class Trickle(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            while True:
                yield b" "
                await asyncio.sleep(0.02)

    max_ = _Max(lambda _: httpx.Response(200, stream=Trickle()))
    began = asyncio.get_running_loop().time()
    with pytest.raises(OutageError):
        await max_.api.chat(CHAT)
    assert 0.15 < asyncio.get_running_loop().time() - began < 2
    assert max_.kinds == ["timeout"]


async def test_neither_errors_nor_logs_know_the_token_or_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"failed with {request.headers} {request.url}", request=request)

    max_ = _Max(fail)
    with caplog.at_level(logging.WARNING), pytest.raises(OutageError) as away:
        await max_.api.subscribe("https://here", "planted-secret", ["user_added"])
    said = f"{away.value!r} {away.value.sentence} {away.value.__cause__} {caplog.text} {MaxAddress('u', TOKEN)}"
    assert away.value.__suppress_context__
    assert TOKEN not in said
    assert "planted-secret" not in said
    assert max_.kinds == ["connection"]


async def test_a_certificate_that_is_not_trusted_says_what_to_do() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("tls", request=request) from ssl.SSLCertVerificationError("self-signed")

    max_ = _Max(fail)
    with pytest.raises(OutageError, match="CHATFERRY_MAX_CA_FILE"):
        await max_.api.chat(CHAT)
    assert max_.kinds == ["certificate"]


def test_certificates_that_cannot_be_read_are_a_wrong_setting(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="CHATFERRY_MAX_CA_FILE"):
        HttpMax(MaxAddress("https://max.example", TOKEN, file), _Clock(), print)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, {"is_admin": True, "permissions": ["write", "read_all_messages"]}, Membership(trusted=True)),
        (200, {"is_admin": True, "permissions": ["write"]}, Membership(trusted=False)),
        (200, {"is_admin": True, "permissions": None}, None),
        (200, {"is_admin": True}, None),
        (200, {"is_admin": False, "permissions": None}, Membership(trusted=False)),
        (200, {"is_admin": False}, Membership(trusted=False)),
        (200, {}, None),
        (403, _error("chat.denied"), None),
        (404, _error("not.found"), None),
    ],
)
async def test_the_bots_rights_are_known_only_when_max_tells_them(
    status: int, body: Any, told: Membership | None
) -> None:
    max_ = _says(status, body)
    assert await max_.api.membership(CHAT) == told
    assert max_.asked[0].url.path == f"/base/chats/{CHAT}/members/me"


async def test_a_subscription_is_found_by_its_url() -> None:
    max_ = _says(200, {"subscriptions": [{"url": "https://here", "time": 1, "update_types": None}]})
    assert await max_.api.subscribed("https://here", ["user_added"])
    assert not await max_.api.subscribed("https://there", ["user_added"])
    with pytest.raises(OutageError):
        await _says(200, {"subscriptions": None}).api.subscribed("https://here", ["user_added"])


async def test_a_subscription_that_lacks_a_type_is_not_the_one_that_is_wanted() -> None:
    has = ["bot_added", "user_added"]
    max_ = _says(200, {"subscriptions": [{"url": "https://here", "time": 1, "update_types": has}]})
    assert await max_.api.subscribed("https://here", ["user_added", "bot_added"])
    assert not await max_.api.subscribed("https://here", ["user_added", "user_removed"])


async def test_a_subscription_is_made_with_secret_and_types() -> None:
    max_ = _says(200, {"success": True})
    await max_.api.subscribe("https://here", "secret", ["user_added", "bot_added"])
    [asked] = max_.asked
    assert (asked.method, asked.url.path) == ("POST", "/base/subscriptions")
    assert json.loads(asked.content) == {
        "url": "https://here",
        "secret": "secret",
        "update_types": ["user_added", "bot_added"],
    }


@pytest.mark.parametrize("body", [{"success": False, "message": "port"}, {}, {"success": "true"}])
async def test_a_200_that_says_no_success_is_a_failure(body: Any) -> None:
    with pytest.raises(OutageError):
        await _says(200, body).api.subscribe("https://here", "secret", [])


async def test_long_polling_gives_events_and_where_to_go_on() -> None:
    known = {"update_type": "user_added", "timestamp": 7, "chat_id": -5, "user": {"user_id": 3}, "more": {"a": 1}}
    max_ = _says(200, {"updates": [known, {"timestamp": 8}, 5], "marker": 99})
    updates, marker = await max_.api.updates(0)
    assert [(update.at_ms, json.loads(body)) for update, body in updates] == [(7, known)]
    assert marker == 99
    assert dict(max_.asked[0].url.params) == {"timeout": "30", "marker": "0"}


async def test_long_polling_without_a_marker_names_none() -> None:
    max_ = _says(200, {"updates": [], "marker": None})
    assert await max_.api.updates(None) == ([], None)
    assert "marker" not in max_.asked[0].url.params
    with pytest.raises(OutageError):
        await _says(200, {"updates": None}).api.updates(None)
