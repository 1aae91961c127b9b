"""On-call finds each name and code that the services can show in the operations guide."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from tests.architecture.tree import ROOT, sources

from chatferry.common.ledger import GIVEN_UP
from chatferry.extractor.domain.gaps import gap_reason
from chatferry.importer.domain.records import EXHAUSTED, PERMANENT, UNDECODABLE, UNKNOWN
from chatferry.operator.dlq.selection import CLASSES

GUIDE = " ".join((ROOT / "docs/operations.md").read_text(encoding="utf-8").split())
# Where a code stands among a call's arguments.
_LETTERS = {"RejectError": 0, "UndecodableError": 0, "PermanentError": 0, "_reject": 2, "Dead": 4, "CallFailedError": 1}
# With these a record is never to blame: they are outages, or block the run.
_NOT_OF_A_RECORD = ("DENIED", "THROTTLED")
_SHOWN = {"alive_when": 0, "ready_when": 0, "away_when": 0, "OutageError": 0}


@cache
def _calls() -> list[tuple[str, ast.Call]]:
    return list(_all_calls())


def _all_calls() -> Iterator[tuple[str, ast.Call]]:
    for file in sources("libs", "services"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""), node


def _strings(named: dict[str, int], wanted: Callable[[ast.Call], bool] = lambda _: True) -> set[str]:
    """What these calls are given, literally, at that place."""
    return {
        part.value
        for name, call in _calls()
        if name in named and len(call.args) > named[name] and wanted(call)
        for part in ast.walk(call.args[named[name]])
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


def _of_a_record(call: ast.Call) -> bool:
    return not (isinstance(call.args[0], ast.Attribute) and call.args[0].attr in _NOT_OF_A_RECORD)


def _unsaid(names: set[str]) -> list[str]:
    return sorted(name for name in names if f"`{name}`" not in GUIDE)


def test_every_code_of_a_dead_letter_is_explained() -> None:
    codes = {code for code in _strings(_LETTERS, _of_a_record) if "." in code}
    assert {"record.wrong_parent", "record.unknown", "body.null", "target.unreachable"} <= codes
    assert _unsaid(codes | {"target.http_NNN", "target.<CODE>", "target.error"}) == []


def test_every_class_of_a_dead_letter_has_its_row() -> None:
    assert {UNDECODABLE, UNKNOWN, PERMANENT, EXHAUSTED, "rejected"} == set(CLASSES)
    assert [name for name in CLASSES if f"| `{name}` |" not in GUIDE] == []


def test_every_code_of_ours_for_what_was_not_read_is_explained() -> None:
    codes = _strings({"Refusal": 0}, lambda call: bool(call.args)) - {"OPERATION_TIME_LIMIT"}
    assert "portal.no_watermark" in codes
    assert _unsaid(codes) == []


def test_every_name_on_readyz_and_healthz_is_explained() -> None:
    names = {name for name in _strings(_SHOWN) if name.islower()}
    assert {"work", "consumer", "preflight", "chats", "mongodb"} <= names
    assert _unsaid(names | {"dead_letters", "subscription"}) == []


def test_every_state_of_what_was_not_read_is_explained() -> None:
    assert _unsaid(set(GIVEN_UP)) == []


@pytest.mark.parametrize(("claimed", "listed", "limited"), [(9, 7, False), (7, 9, False), (9, 7, True)])
def test_every_sentence_of_a_gap_is_explained(claimed: int, listed: int, limited: bool) -> None:
    said = gap_reason(claimed, listed, limited=limited, walks=3) or ""
    assert re.sub(r"\(3 walks\)", "(W walks)", re.sub(r"\b2\b", "N", said)) in GUIDE
