"""What a person sees: rates and time left, the table of `status`, no secret."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from chatferry.operator import status
from chatferry.operator.folder import Folder, Project
from chatferry.operator.launch import shown
from chatferry.operator.status import show

STATE: dict[str, Any] = {
    "project": "local",
    "kafka": "127.0.0.1:9092",
    "mongodb": {"url": "mongodb://127.0.0.1:27017/?replicaSet=rs0", "database": "chatferry_local"},
    "redis": {"url": "redis://127.0.0.1:6379/0"},
    "portal": {"url": "https://p.test"},
    "target": {"url": "http://127.0.0.1:8080", "rest_url_file": "target.url"},
    "processes": [
        {"name": "chat", "pid": 11, "restarts": 0},
        {"name": "importer", "pid": None, "restarts": 7},
        {"name": "kafka", "pid": 13, "restarts": 2},
    ],
    "failed": "importer cannot be kept running: [bad] setting",
    "health": {"chat": {"mongodb": "mongodb does not answer"}, "importer": {"service": "it does not run"}},
    "ledger": {},
    "ledger_per_parent": {},
    "runs": [],
}


def printed(state: dict[str, Any]) -> str:
    stream = io.StringIO()
    show(state, Console(file=stream, width=200))
    return stream.getvalue()


def test_status_shows_each_process_its_restarts_and_what_is_wrong_with_it() -> None:
    rows = {line.split()[0]: line for line in printed(STATE).splitlines() if line.strip()}
    assert "11" in rows["chat"]
    assert "mongodb does not answer" in rows["chat"]
    assert " 7 " in rows["importer"]
    assert "it does not run" in rows["importer"]
    assert "ready" in rows["kafka"]


def test_status_shows_why_something_was_given_up_word_for_word() -> None:
    assert "failed: importer cannot be kept running: [bad] setting" in printed(STATE)
    assert "failed" not in printed({**STATE, "failed": None})


WRITTEN = ("agreed [/JIRA-7]", "agreed [qa team]", "[bold]", "\\[x]")


@pytest.mark.parametrize("written", WRITTEN)
def test_what_people_and_parts_wrote_is_shown_word_for_word(written: str) -> None:
    account = {"read": 2, "done": 1, "skipped": {f"discarded: {written}": 1}, "dead": 0, "waiting": 0}
    run = {"run": f"run {written}", "state": "blocked", "phase": None, "reason": f"because {written}"}
    shown = printed(
        {
            **STATE,
            "mongodb": {"url": f"mongodb://{written}/", "database": "d"},
            "health": {"chat": {"mongodb": f"away {written}"}},
            "ledger_per_parent": {
                "chat_messages": {"settled": 0, "unsettled": 1, "rows": [{"key": f"key {written}", **account}]}
            },
            "ledger_of_chat": {"key": f"chat {written}", "state": "closed", "chat_messages": account},
            "runs": [run],
        }
    )
    for place in ("d at mongodb://", "away ", "key ", "chat ", "run ", "because "):
        assert f"{place}{written}" in shown
    assert shown.count(f"discarded: {written}") == 2


async def test_status_has_no_password_for_people_and_for_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> dict[str, Any]:
        return {"runs": [], "ledger": {}, "ledger_per_parent": {}}

    monkeypatch.setattr(status, "_stored", nothing)
    project = Project(
        name="unit",
        kafka="k:9092",
        mongodb="mongodb://ferry:S3cretPw@mongo/?replicaSet=rs&tlsCertificateKeyFilePassword=S3cretPw",
        redis="redis://:S3cretPw@redis:6379/0?password=S3cretPw",
        portal_host="p.test",
        portal_url="https://p.test",
        webhooks_file="",
        target_url="http://t.test/base",
        rest_url_file="",
    )
    state = await status.snapshot(Folder(tmp_path), project, None)  # type: ignore[arg-type]
    assert state["mongodb"]["url"].startswith("mongodb://mongo/?replicaSet=rs&")
    assert state["redis"]["url"].startswith("redis://redis:6379/0")
    assert state["target"]["url"] == "http://t.test/base"
    assert "S3cretPw" not in json.dumps(state) + printed(state)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://user:secret@p.test/rest/1/secret", "https://p.test"),
        ("http://127.0.0.1:8080/rest/1/secret?x=secret", "http://127.0.0.1:8080"),
    ],
)
def test_a_url_is_shown_without_credentials_and_path(url: str, safe: str) -> None:
    assert shown(url) == safe
