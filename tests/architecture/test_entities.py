"""The machinery knows no entity by name: adding a family adds a declaration, and nothing in the services."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.tree import ROOT, sources

from chatferry.common.entities import ENTITIES, FAMILIES

SERVICES = ("extractor", "importer", "verifier")
# Words that are spelled as an entity is, and mean something else. One that is not needed any more fails.
OTHER_MEANINGS = {
    ("services/verifier/chatferry/verifier/steps/report.py", "chats"): "a key of the report's published shape",
    ("services/verifier/chatferry/verifier/adapters/findings.py", "users"): "how many a verdict mentions",
}


def _words(file: Path) -> Iterator[str]:
    """Every text that stands in the code by itself."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_module_of_the_machinery_names_an_entity() -> None:
    names = {*ENTITIES, *FAMILIES}
    assert {"users", "chats", "chat_messages"} <= names
    files = [file for file in sources("services") if file.relative_to(ROOT).parts[1] in SERVICES]
    assert len(files) > 50
    named = {(file.relative_to(ROOT).as_posix(), word) for file in files for word in _words(file) if word in names}
    assert named == set(OTHER_MEANINGS)
