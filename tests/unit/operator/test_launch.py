"""What is started for a project, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chatferry.common.errors import ConfigurationError
from chatferry.operator import launch as launching
from chatferry.operator import status
from chatferry.operator.folder import Folder, Project
from chatferry.operator.launch import GivenPortal, Launch, given_target, launch
from chatferry.operator.supervisor import Service
from chatferry.stack import Addresses

ADDRESSES = Addresses("k:9092", "mongodb://mongo/?replicaSet=rs", "redis://redis:6379")
TARGET = "https://t.test/base/rest/7/abcsecretdef"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Service]:
    """The services of the plan; nothing is started."""
    services: list[Service] = []

    def supervise(_folder: Folder, _root: Path | None, wanted: Sequence[Service], _lock: object) -> None:
        services.extend(wanted)

    monkeypatch.setattr(launching, "supervise", supervise)
    monkeypatch.setattr(launching, "_wait_until_ready", lambda *_: None)
    return services


def launched(folder: Folder, target: Path | None = None, portal: str = "https://p.test", **settings: str) -> Project:
    webhooks = folder.secret("given", f"{portal}/rest/1/abcsecretdef")
    wanted = Launch("local", ADDRESSES, GivenPortal(webhooks), settings, None, target)
    launch(folder, wanted, None, lambda _: None)  # type: ignore[arg-type]
    return folder.load()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8081", "https://p.test", "https://p.test:8443"])
def test_a_portal_is_remembered_by_the_address_that_is_asked(tmp_path: Path, started: list[Service], url: str) -> None:
    assert launched(Folder(tmp_path), portal=url).portal_url == url


def test_without_a_target_of_the_environment_ours_is_started_with_a_secret_of_its_own(
    tmp_path: Path, started: list[Service]
) -> None:
    folder = Folder(tmp_path)
    assert given_target(folder, {"CHATFERRY_TARGET_URL": ""}) is None
    project = launched(folder)
    assert [one.name for one in started] == ["chat", "importer", "extractor", "verifier"]
    assert project.target_url == f"http://127.0.0.1:{started[0].env['CHATFERRY_HTTP_PORT']}"
    assert Path(project.rest_url_file).stat().st_mode & 0o777 == 0o600


def test_what_is_set_for_the_services_goes_before_what_would_be_ours_and_is_not_remembered(
    tmp_path: Path, started: list[Service]
) -> None:
    project = launched(Folder(tmp_path), CHATFERRY_TARGET_URL_FILE="/through/a/proxy", CHATFERRY_LOG_LEVEL="DEBUG")
    told = {(one.env["CHATFERRY_TARGET_URL_FILE"], one.env["CHATFERRY_LOG_LEVEL"]) for one in started}
    assert told == {("/through/a/proxy", "DEBUG")}
    assert project.rest_url_file == str(tmp_path / "secrets" / "target.url")


@pytest.mark.parametrize("variable", ["CHATFERRY_TARGET_URL", "CHATFERRY_TARGET_URL_FILE"])
def test_a_target_that_others_run_is_used_and_ours_is_not_started(
    tmp_path: Path, started: list[Service], variable: str
) -> None:
    folder, file = Folder(tmp_path / "local"), tmp_path / "target"
    file.write_text(f"{TARGET}\n", encoding="utf-8")
    given = given_target(folder, {variable: str(file) if variable.endswith("_FILE") else TARGET})
    project = launched(folder, given)
    assert [one.name for one in started] == ["importer", "extractor", "verifier"]
    assert {one.env["CHATFERRY_TARGET_URL_FILE"] for one in started} == {project.rest_url_file}
    assert not any("CHATFERRY_CHAT_WEBHOOK_SECRET_FILE" in one.env for one in started)
    assert project.target_url == "https://t.test/base"
    assert Path(project.rest_url_file).read_text(encoding="utf-8").strip() == TARGET


@pytest.mark.parametrize("url", ["ftp://t.test/rest/1/abcsecretdef", "https://t.test/abcsecretdef"])
def test_what_is_no_target_is_named_before_anything_is_made_and_not_repeated(tmp_path: Path, url: str) -> None:
    (tmp_path / "target").write_text(url, encoding="utf-8")
    folder = Folder(tmp_path / "local")
    for env in ({"CHATFERRY_TARGET_URL": url}, {"CHATFERRY_TARGET_URL_FILE": str(tmp_path / "target")}):
        with pytest.raises(ConfigurationError, match="must hold one URL") as wrong:
            given_target(folder, env)
        assert wrong.value.sentence.startswith(next(iter(env)))
        assert "abcsecretdef" not in wrong.value.sentence
    assert not folder.root.exists()


async def test_status_asks_no_target_that_others_run_for_its_health(tmp_path: Path) -> None:
    names = ["importer", "extractor", "verifier", "kafka"]
    state: dict[str, Any] = {"processes": [{"name": name, "pid": 1, "restarts": 0} for name in names]}
    assert list(await status._health(Folder(tmp_path), state)) == names[:3]
    assert list(await status._health(Folder(tmp_path), {})) == ["chat", *names[:3]]
