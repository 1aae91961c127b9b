"""What docs/target-protocol.md tells a customer is true."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from tests.contract.chat.target_process import Speaker
from tests.unit.chat.records import messages

from chatferry.chat.openapi import rendered
from chatferry.chat.wire import serve
from chatferry.common.contracts.canonical import payload_hash

DOCUMENT = (Path(__file__).parents[3] / "docs" / "target-protocol.md").read_text(encoding="utf-8")
BODIES = re.findall(r"/import\.(\w+)\.(\w+)\" -d '(.*?)'", DOCUMENT, re.DOTALL)


def test_the_example_batch_is_accepted() -> None:
    [(family, _verb, body)] = [example for example in BODIES if example[1] == "batch"]
    batch = serve(family).read(body.encode())
    assert batch.wrong == []
    assert batch.items[0]["hash"] == payload_hash(batch.items[0]["data"])


@pytest.mark.integration
def test_the_example_calls_are_answered(chats: Speaker) -> None:
    for _family, verb, body in BODIES:
        if "after" not in body:
            assert chats.send(verb, json.loads(body)).status_code == 200


@given(messages)
def test_the_hash_in_three_lines_of_python_is_ours(data: dict[str, Any]) -> None:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert 'json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)' in DOCUMENT
    assert hashlib.sha256(canonical.encode()).hexdigest() == payload_hash(data)


def test_every_error_of_the_openapi_document_is_explained() -> None:
    codes = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", rendered().decode()))
    assert {code for code in codes if f"`{code}`" not in DOCUMENT} == set()
