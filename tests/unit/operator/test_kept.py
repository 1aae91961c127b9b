"""A demo deletes what demos left, and nothing of anybody else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from chatferry.common.errors import ConfigurationError
from chatferry.operator import cli, demo, kept
from chatferry.operator.cli import main
from chatferry.operator.demo import fresh_stack
from chatferry.operator.folder import Folder, Project
from chatferry.stack import Addresses

GIVEN = {
    "CHATFERRY_KAFKA": "127.0.0.1:9092",
    "CHATFERRY_MONGODB": "mongodb://127.0.0.1:27017/?replicaSet=rs0",
    "CHATFERRY_REDIS": "redis://127.0.0.1:6379/0",
}


class Stack:
    """Servers that only make their folders."""

    def __init__(self, root: Path, **_: Any) -> None:
        self.root = root

    def up(self) -> Addresses:
        for part in ("kafka", "mongodb", "redis"):
            (self.root / "stack" / part).mkdir(parents=True, exist_ok=True)
        return Addresses("127.0.0.1:9", "mongodb://127.0.0.1:9/?replicaSet=rs0", "redis://127.0.0.1:9")

    def down(self) -> None:
        return


@pytest.fixture(autouse=True)
def servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GIVEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cli, "LocalStack", Stack)
    monkeypatch.setattr(demo, "LocalStack", Stack)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("CHATFERRY_LOCAL", str(tmp_path / "local"))
    monkeypatch.setenv("CHATFERRY_PORTAL_WEBHOOKS", "https://p.test/rest/1/abcsecretdef/")
    return Folder(tmp_path / "local")


def put_data(folder: Folder) -> list[Path]:
    files = [folder.root / "stack" / part / "data" for part in ("kafka", "mongodb", "redis")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("records", encoding="utf-8")
    return files


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["chatferry", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def project(name: str) -> Project:
    where = dict.fromkeys(Project.__dataclass_fields__, "x")
    return Project(**{**where, "name": name})


@pytest.mark.parametrize("words", [("demo",), ("demo", "participants")])
def test_a_demo_refuses_to_delete_what_up_keeps(
    local: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    async def nothing(*_: object) -> None:
        return

    monkeypatch.setattr(cli, "bootstrap", nothing)
    monkeypatch.setattr(cli, "launch", lambda _folder, _wanted, lock, _announce: lock.close())
    monkeypatch.setenv("CHATFERRY_PROJECT", "acme")
    assert typed(monkeypatch, "up") == 0
    files = put_data(local)
    capsys.readouterr()
    assert typed(monkeypatch, *words) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert f"a demo would delete the data that {local.root} keeps of project acme of `chatferry up`" in said.err
    assert "CHATFERRY_LOCAL" in said.err
    assert all(file.exists() for file in files)


def test_what_was_put_into_the_servers_of_stack_up_is_kept_too(
    local: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "stack", "up") == 0
    files = put_data(local)
    assert typed(monkeypatch, "demo") == 2
    assert "`chatferry stack up`" in capsys.readouterr().err
    assert all(file.exists() for file in files)


def test_data_of_an_up_that_left_no_mark_are_known_by_the_name_of_their_project(local: Folder) -> None:
    files = put_data(local)
    local.save(project("local"))
    with pytest.raises(ConfigurationError, match="project local of `chatferry up`"):
        kept.take_for_demo(local)
    assert all(file.exists() for file in files)


@pytest.mark.parametrize("name", ["demo", "demo-0af3c1"])
def test_a_demo_deletes_what_a_demo_before_it_left(local: Folder, name: str) -> None:
    files = put_data(local)
    local.save(project(name))
    kept.take_for_demo(local).close()
    fresh_stack(local, lambda _: None)
    assert not any(file.exists() for file in files)


def test_a_demo_on_servers_that_others_run_deletes_nothing_of_the_local_ones(
    local: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = put_data(local)
    monkeypatch.setenv("CHATFERRY_MONGODB", GIVEN["CHATFERRY_MONGODB"])
    fresh_stack(local, lambda _: None)
    assert [file.exists() for file in files] == [False, True, False]


def test_every_project_that_was_started_in_a_folder_is_named(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for name in ("two", "one", "two"):
        kept.keep(folder, kept.project_of_up(name))
    with pytest.raises(ConfigurationError, match="keeps of project one of `chatferry up` and project two of"):
        kept.take_for_demo(folder)
