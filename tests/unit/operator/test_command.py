"""What the command `chatferry` says to words that it cannot take: one sentence, and exit code 2."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from chatferry.operator.cli import main

WEBHOOK = "https://portal.test/rest/1/abcsecretdef/"


@pytest.mark.parametrize(
    "words",
    [
        ("dlq", "list", "--id", "\udcff"),
        ("dlq", "discard", "--all", "--by", "\udcff", "--reason", "agreed"),
        ("accept", "source:chat:84", "--by", "a\udcffb"),
        ("stop", "\udcff"),
    ],
)
def test_bytes_that_are_no_text_are_refused_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["chatferry", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.startswith("chatferry: '")
    assert "is no text in UTF-8" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("words", [("migrate", "chats", "--test-limit"), ("dlq", "list", "--each", "--limit")])
def test_a_number_that_no_database_takes_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["chatferry", *words, "99999999999999999999"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "should be less than or equal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "variables", "sentence"),
    [
        (("bootstrap",), {"CHATFERRY_PROJECT": "A b/c"}, "CHATFERRY_PROJECT must be 1 to 32 small letters"),
        (("up",), {"CHATFERRY_PROJECT": "A b/c"}, "CHATFERRY_PROJECT must be 1 to 32 small letters"),
        (("up",), {"CHATFERRY_PORTAL_WEBHOOKS": "http://abcsecretdef"}, "portal webhook 1 is not of the form"),
        (("bootstrap", "--secrets", "/proc/x"), {}, "/proc/x/target.secret cannot be written (No such file"),
        (("webhooks", "/nonexistent/folder"), {}, "/nonexistent/folder/webhooks cannot be written (No such file"),
        (("demo", "--bucket", "²:2"), {}, "give CAPACITY:PER_SECOND"),
        (("status", "--chats", "all"), {}, "give --json with it, and no --watch"),
        (("status", "--chats", "all", "--json", "--watch"), {}, "give --json with it, and no --watch"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: tuple[str, ...],
    variables: dict[str, str],
    sentence: str,
) -> None:
    parts = {"CHATFERRY_KAFKA": "127.0.0.1:9", "CHATFERRY_MONGODB": "mongodb://127.0.0.1:9/?replicaSet=rs0"}
    local = {"CHATFERRY_LOCAL": str(tmp_path / "local"), "CHATFERRY_PORTAL_WEBHOOKS": WEBHOOK}
    for name, value in {**parts, **local, **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("chatferry.operator.cli.LocalStack", None)
    monkeypatch.setattr("chatferry.operator.demo.LocalStack", None)
    monkeypatch.setattr(sys, "stdin", io.StringIO(WEBHOOK))
    monkeypatch.setattr(sys, "argv", ["chatferry", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert sentence in said.err
    assert "abcsecretdef" not in said.err
    assert not (tmp_path / "local").exists()


def test_an_address_of_kafka_that_nobody_can_ask_is_told_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["chatferry", "bootstrap"])
    monkeypatch.setenv("CHATFERRY_MONGODB", "mongodb://127.0.0.1:1/")
    monkeypatch.setenv("CHATFERRY_KAFKA", "h:xx")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("chatferry: CHATFERRY_KAFKA must be host:port")


def test_servers_that_are_started_again_at_once_are_not_stopped_without_their_services(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CHATFERRY_LOCAL", str(tmp_path))
    monkeypatch.setattr("chatferry.operator.processes.supervisor_of", lambda *_: object())
    monkeypatch.setattr(sys, "argv", ["chatferry", "stack", "down"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert "`chatferry down` stops them and the servers" in said.err
