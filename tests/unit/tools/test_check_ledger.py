"""Where the stranger's ledger finds a MongoDB whose password `status` does not show, and when it cannot look."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tools.check_ledger import Check, main, with_password

from chatferry.stack import without_secret

FULL = "mongodb://ferry:p%40ss@mongo:27017/?replicaSet=rs0&tlsCertificateKeyFilePassword=abc"


@pytest.mark.parametrize("full", [FULL, "mongodb://ferry:p@mongo/?replicaSet=rs0", "mongodb://mongo/?replicaSet=rs0"])
def test_the_environment_completes_what_status_shows(monkeypatch: pytest.MonkeyPatch, full: str) -> None:
    monkeypatch.setenv("CHATFERRY_MONGODB", full)
    assert with_password(without_secret(full)) == full


@pytest.mark.parametrize("other", [None, "", "mongodb://ferry:p@elsewhere:27017/?replicaSet=rs0"])
def test_an_environment_of_another_server_is_not_asked(monkeypatch: pytest.MonkeyPatch, other: str | None) -> None:
    monkeypatch.delenv("CHATFERRY_MONGODB", raising=False)
    if other is not None:
        monkeypatch.setenv("CHATFERRY_MONGODB", other)
    assert with_password("mongodb://mongo:27017/?replicaSet=rs0") == "mongodb://mongo:27017/?replicaSet=rs0"


def a_status(folder: Path, target: str) -> dict[str, Any]:
    file = folder / "target.url"
    file.write_text(target, encoding="utf-8")
    mongodb = {"url": "mongodb://127.0.0.1:9/", "database": "d"}
    return {"project": "p", "mongodb": mongodb, "target": {"rest_url_file": str(file)}}


@pytest.mark.parametrize("status", [[], {"project": "p", "mongodb": []}, {"project": "p", "mongodb": None}, 1])
def test_a_status_of_another_form_cannot_be_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, status: Any
) -> None:
    file = tmp_path / "status.json"
    file.write_text(json.dumps(status), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["check_ledger.py", "--status", str(file)])
    assert main() == 2
    assert capsys.readouterr().err.startswith("could not look: ")


@pytest.mark.parametrize("target", ["http://t:port/rest/1/s3cret", "http://[/rest/1/s3cret", "http://t\x01/rest/1/s"])
def test_a_target_whose_address_is_none_cannot_be_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, target: str
) -> None:
    def asked(check: Check, status: dict[str, Any], _portal: None) -> None:
        check.url, check.http = Path(status["target"]["rest_url_file"]).read_text(encoding="utf-8"), httpx.Client()
        check.ask("chats", "count")

    file = tmp_path / "status.json"
    file.write_text(json.dumps(a_status(tmp_path, target)), encoding="utf-8")
    monkeypatch.setattr(Check, "__init__", asked)
    monkeypatch.setattr(sys, "argv", ["check_ledger.py", "--status", str(file)])
    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith("could not look: ")
    assert "s3cret" not in said
