"""Every command line that a page tells somebody to type is one that `chatferry` takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from tests.architecture.tree import ROOT
from typer.core import TyperGroup
from typer.exceptions import TyperException

from chatferry.operator.cli import app

PAGES = sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TYPED = re.compile(r"(?:^|[\s;])(?:\.venv/bin/)?chatferry (?P<words>.+)$")
_IN_A_CONTAINER = re.compile(r"\bdocker compose (?:\S+ )*?run (?:-\S+ )*(?:operator|bootstrap) (?P<words>.+)$")


def _words(line: str) -> Iterator[list[str]]:
    """The words behind each `chatferry` of a shell line."""
    for part in re.split(r"&&|\|(?!\|)|;", re.sub(r"\s#\s.*$", "", line)):
        typed = _TYPED.search(part) or _IN_A_CONTAINER.search(part)
        if typed is not None:
            words = shlex.split(re.sub(r"\s[<>]\s.*$", "", typed["words"]))
            if words != ["…"]:
                yield words


def command_lines(text: str) -> list[list[str]]:
    """What follows `chatferry` in blocks and in the text of a page."""
    found = [words for block in _BLOCK.findall(text) for line in block.splitlines() for words in _words(line)]
    inline = re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text))
    return found + [words for line in inline for words in _words(line)]


def refusal(words: list[str]) -> str | None:
    """Why `chatferry` does not take these words; nothing is run."""
    command, context = typer.main.get_command(app), None
    try:
        while True:
            context = command.make_context(command.name, list(words), parent=context)
            rest = [*context._protected_args, *context.args]
            if not isinstance(command, TyperGroup) or not rest:
                return None
            _, found, words = command.resolve_command(context, rest)
            assert found is not None
            command = found
    except typer.Exit:
        return None
    except TyperException as wrong:
        return str(wrong.format_message()) if hasattr(wrong, "format_message") else str(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_command_line_on_a_page_can_be_typed_as_it_stands(page: Path) -> None:
    lines = command_lines(page.read_text(encoding="utf-8"))
    assert {" ".join(words): why for words in lines if (why := refusal(words)) is not None} == {}


def test_command_lines_are_found_wherever_they_stand() -> None:
    page = (
        "Type `chatferry down && chatferry up`, then:\n```sh\n.venv/bin/chatferry migrate users  # they go first\n"
        "chatferry status --json | less\ndocker compose run --rm --no-deps -T bootstrap webhooks /run < list.txt\n```\n"
    )
    assert command_lines(page) == [
        ["migrate", "users"],
        ["status", "--json"],
        ["webhooks", "/run"],
        ["down"],
        ["up"],
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("migrate", "Missing argument 'family'"),
        ("migrate …", "'…' is not one of"),
        ("migrate chats --max-rat 1", "No such option: --max-rat"),
        ("dlq discard --id x --reason y", "Missing option '--by'"),
        ("dlq forget", "No such command 'forget'"),
        ("accept source:chat:84", "Missing option '--by'"),
    ],
)
def test_what_cannot_be_typed_is_noticed(words: str, why: str) -> None:
    assert why in (refusal(words.split()) or "")
