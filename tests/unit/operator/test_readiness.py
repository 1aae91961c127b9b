"""What is said of a service whose `/readyz` answers, or of whatever else answers in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from chatferry.operator.folder import Folder
from chatferry.operator.launch import not_ready
from chatferry.operator.readiness import unready

URL = "http://127.0.0.1:8080"
ELSE = "something else answers at its address"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[httpx.Response], None]:
    """Whoever asks over HTTP is given this response."""
    return lambda response: monkeypatch.setattr(httpx, "get", lambda *_, **__: response)


def test_what_a_service_says_is_wrong_is_told_by_part(answers: Callable[[httpx.Response], None]) -> None:
    answers(httpx.Response(503, json={"ok": False, "wrong": {"mongodb": "it is away"}}))
    assert unready(URL) == {"mongodb": "it is away"}
    answers(httpx.Response(200, json={"ok": True, "wrong": {}}))
    assert unready(URL) == {}


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(502, text="<html>Bad Gateway</html>"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(200, json=[1]),
        httpx.Response(200, json={"wrong": "no"}),
        httpx.Response(200, content=b"\xff"),
        httpx.Response(204),
    ],
    ids=["html", "other json", "list", "no parts", "no text", "nothing"],
)
def test_an_answer_that_is_not_a_services_is_told_in_a_sentence(
    answers: Callable[[httpx.Response], None], response: httpx.Response, tmp_path: Path
) -> None:
    answers(response)
    assert ELSE in unready(URL)["service"]
    folder = Folder(tmp_path)
    (folder.addresses / "chat.url").write_text(f"{URL}\n", encoding="utf-8")
    assert ELSE in str(not_ready(folder, "chat"))


@pytest.mark.parametrize("url", ["http://host:port", "http://[::1", "host:8080", ""])
def test_an_address_that_cannot_be_asked_is_told_with_its_variable(url: str) -> None:
    assert "CHATFERRY_SERVICE_URLS" in unready(url)["service"]


def test_nobody_at_the_address_is_told_too() -> None:
    assert unready("http://127.0.0.1:1")["service"] == "it does not answer (ConnectError)"
