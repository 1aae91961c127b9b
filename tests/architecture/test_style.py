"""Sizes of files and functions, broad excepts, and words that do not belong into the repository."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.architecture.tree import ROOT, files, sources

CODE = ("libs", "services", "tools", "tests")
# "About 300" and "about 40" (a suite of tests may be somewhat longer than what it tests).
FILE_LINES, SUITE_LINES, FUNCTION_LINES = 320, 350, 42
# Larger than the rule: how large at most, and why. An entry that is not needed any more fails.
LARGER_FUNCTIONS = {
    "libs/simulators/chatferry/simulators/bitrix24/command.py:serve_command": (70, "a parameter is an option"),
    "services/importer/chatferry/importer/app.py:work": (50, "composition root"),
}
RUNTIME_LOOP = "libs/common/chatferry/common/streaming/consumer.py"
# Written so that this file does not hold what it looks for.
REGISTRIES = re.compile(
    r"\b(?:(?:files\.)?py(?:pi|thonhosted)\.org|repo1?\.maven\b|(?:registry\.)?npm(?:js)?\.(?:org|com)"
    r"|(?:index\.|registry-1\.)?docker\.io|ghcr\.io|quay\.io|proxy\.golang\.org|crates\.io)"
)
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:root/|home/(?!chatferry))")


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _functions(file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{_name(file)}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def _catch_all(handler: ast.ExceptHandler) -> str | None:
    if handler.type is None:
        return "everything"
    names = [node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)]
    return next((name for name in names if name in ("Exception", "BaseException")), None)


def _catches() -> Iterator[tuple[str, str, bool]]:
    """Where everything is caught: file, what, and whether it is raised again at the end."""
    for file in sources("libs", "services", "tools"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and (what := _catch_all(node)) is not None:
                last = node.body[-1]
                yield _name(file), what, isinstance(last, ast.Raise) and last.exc is None


def test_no_file_is_too_large() -> None:
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in sources(*CODE)}
    suites = set(sources("tests"))
    most = {file: SUITE_LINES if file in suites else FILE_LINES for file in lines}
    assert {_name(file): count for file, count in lines.items() if count > most[file]} == {}


def test_no_function_is_too_large() -> None:
    lines: dict[str, int] = {}
    for file in sources(*CODE):
        for name, count in _functions(file):
            lines[name] = max(count, lines.get(name, 0))
    allowed = LARGER_FUNCTIONS
    large = {name: count for name, count in lines.items() if count > allowed.get(name, (FUNCTION_LINES, ""))[0]}
    assert large == {}
    assert [name for name in allowed if lines.get(name, 0) <= FUNCTION_LINES] == [], "no exception is needed here"


def test_only_the_runtime_loop_catches_every_exception() -> None:
    assert {file for file, what, _ in _catches() if what == "Exception"} == {RUNTIME_LOOP}
    assert {file for file, what, _ in _catches() if what == "everything"} == set()


def test_whoever_catches_even_cancellation_raises_it_again() -> None:
    assert {file for file, _, again in _catches() if not again} == set()


@pytest.mark.parametrize(
    ("what", "pattern"), [("registry", REGISTRIES), ("machine path", MACHINE_PATHS)], ids=["registry", "machine path"]
)
def test_no_file_names_a_package_registry_or_a_path_of_one_machine(what: str, pattern: re.Pattern[str]) -> None:
    found = []
    for file in files():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{_name(file)}: {match[0]}" for match in pattern.finditer(text)]
    assert found == [], what


def test_the_patterns_find_what_they_look_for() -> None:
    hosts = ["py" + "pi.org", "files.python" + "hosted.org", "repo1.ma" + "ven.org", "gh" + "cr.io/x"]
    assert all(REGISTRIES.search(host) for host in hosts)
    assert all(MACHINE_PATHS.search(path) for path in ["'/ro" + "ot/x'", "/home" + "/me"])
