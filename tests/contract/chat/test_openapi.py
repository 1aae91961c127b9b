"""The checked-in OpenAPI document is the one the code gives."""

from __future__ import annotations

import re
from pathlib import Path

import orjson

from chatferry.chat.openapi import rendered

DOCUMENT = Path(__file__).parents[3] / "docs" / "target-openapi.json"


def test_the_openapi_document_has_not_drifted() -> None:
    assert DOCUMENT.read_bytes() == rendered(), "run: python -m chatferry.chat.openapi > docs/target-openapi.json"


def test_every_reference_in_it_leads_somewhere() -> None:
    document = orjson.loads(rendered())
    named = set(document["components"]["schemas"])
    assert set(re.findall(rb'"#/components/schemas/(\w+)"', rendered())) <= {name.encode() for name in named}
    assert {"User", "Chat", "ChatMessage", "ImportBatch", "TargetError"} <= named
