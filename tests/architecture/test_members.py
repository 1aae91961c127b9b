"""A member that is not installed, not checked or not named would be green without being looked at."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from tests.architecture.tree import ROOT, files, members, project

NAMES = sorted(members())


def _folders() -> set[str]:
    return {folder.relative_to(ROOT).as_posix() for folder in members().values()}


def _distribution(module: str) -> str:
    return module.replace(".", "-")


def test_every_folder_of_libs_and_services_is_a_member() -> None:
    there = {path.relative_to(ROOT).as_posix() for top in ("libs", "services") for path in (ROOT / top).iterdir()}
    assert {path for path in there if (ROOT / path).is_dir()} == _folders()


@pytest.mark.parametrize("module", NAMES)
def test_a_member_is_installed_from_its_folder(module: str) -> None:
    folder = members()[module]
    said = json.loads(distribution(_distribution(module)).read_text("direct_url.json") or "{}")
    assert Path(unquote(urlsplit(said["url"]).path)) == folder
    assert said["dir_info"] == {"editable": True}
    assert Path(import_module(module).__file__ or "").is_relative_to(folder)


@pytest.mark.parametrize("module", NAMES)
def test_a_member_is_a_typed_portion_named_as_its_folder(module: str) -> None:
    folder, name = members()[module], module.removeprefix("chatferry.")
    assert [path.name for path in (folder / "chatferry").iterdir() if path.name != "__pycache__"] == [name]
    assert (folder / "chatferry" / name / "__init__.py").is_file()
    assert (folder / "chatferry" / name / "py.typed").is_file()
    said = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    assert said["project"]["name"] == _distribution(module)
    assert said["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["chatferry"]


def test_mypy_looks_at_every_member() -> None:
    said = project()["tool"]["mypy"]
    assert set(said["mypy_path"]) == _folders()
    assert set(said["packages"]) == set(members())


def test_make_installs_every_member() -> None:
    [line] = re.findall(r"^MEMBERS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(line.split()) == _folders()


def test_the_lock_is_made_from_every_member() -> None:
    said = project()
    wanted = {_distribution(module) for module in members()}
    assert wanted <= set(said["project"]["dependencies"])
    assert set(said["tool"]["uv"]["sources"]) == wanted


def test_the_namespace_has_no_init() -> None:
    # One would hide the other members' portions, while mypy stays green.
    strays = [file for file in files() if file.name == "__init__.py" and file.parent.name == "chatferry"]
    assert strays == []
