"""The two READMEs say the same, and what they name exists."""

from __future__ import annotations

import re

import pytest
from tests.architecture.tree import ROOT
from typer.main import get_command

from chatferry.operator.cli import app

READMES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ru.md")}
_ENGLISH, _RUSSIAN = READMES.values()


def _commands(text: str) -> list[str]:
    """What is typed: lines of shell blocks, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]


def _code(text: str) -> list[str]:
    return sorted(re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text))


def test_both_have_the_same_headings() -> None:
    levels = [re.findall(r"^(#+) ", text, re.MULTILINE) for text in (_ENGLISH, _RUSSIAN)]
    assert levels[0] == levels[1]


def test_both_give_the_same_commands() -> None:
    assert _commands(_ENGLISH) == _commands(_RUSSIAN)
    assert _commands(_ENGLISH)[:2] == ["make demo", "make test"]


def test_both_name_the_same_things() -> None:
    assert _code(_ENGLISH) == _code(_RUSSIAN)


def test_both_link_to_the_same_files() -> None:
    assert re.findall(r"\]\(([^)]+)\)", _ENGLISH) == re.findall(r"\]\(([^)]+)\)", _RUSSIAN)


@pytest.mark.parametrize("page", ["README.md", "docs/flow.md", "docs/topics.md", "docs/target-protocol.md"])
def test_every_link_leads_to_a_file(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / page).parent.joinpath(link).exists()] == []


def test_every_command_of_the_program_is_in_the_readme_and_no_other() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = {word for row in re.findall(r"^\| `(.+?)` \|", _ENGLISH, re.MULTILINE) for word in re.findall(r"\w+", row)}
    assert commands <= named
    typed = {line.split()[1] for line in _commands(_ENGLISH) if line.startswith(".venv/bin/chatferry ")}
    assert typed <= commands


def test_every_target_of_the_makefile_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)`", _ENGLISH)) <= targets


def test_decisions_are_short_and_numbered_without_gaps() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    lines = {record.name: len(record.read_text(encoding="utf-8").splitlines()) for record in records}
    assert {name: count for name, count in lines.items() if count > 60} == {}
