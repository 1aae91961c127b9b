"""The stranger's ledger is short enough to be read by a stranger, and stands on none of our code."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from tests.architecture.tree import ROOT

CHECKER = "check_ledger"
FILES = (CHECKER, "ledger_expected", "ledger_offsets", "ledger_portal")


def _imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield node.module or "."
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_checker_is_short_and_imports_nothing_of_ours(name: str) -> None:
    source = (ROOT / "tools" / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 300
    imported = set(_imported(source))
    ours = {"chatferry", "tests", "services", "libs", "importlib", "runpy", "."}
    assert {module for module in imported if module.split(".")[0] in ours} == set()
    assert {module for module in imported if module.startswith("tools")} <= {f"tools.{file}" for file in FILES}
    assert "import_module" not in source
    assert "__import__" not in source
