"""The ledger of every chat is written, and never held."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatferry.common.ledger import Account, OfParent
from chatferry.operator import every_chat
from chatferry.operator.every_chat import write_whole

CHATS = 20_000


class _Counting(io.StringIO):
    """Keeps nothing but the number of its lines."""

    lines = 0

    def write(self, text: str) -> int:
        self.lines += text.count("\n")
        return len(text)


async def _many(*_: object) -> AsyncIterator[OfParent]:
    for number in range(CHATS):
        yield OfParent(f"source:chat:{number}", Account(read=9, done=9), True)


async def _none(*_: object) -> AsyncIterator[OfParent]:
    none: list[OfParent] = []
    for one in none:
        yield one


async def test_what_is_held_does_not_grow_with_the_chats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every_chat, "each_parent", _many)
    out = _Counting()
    tracemalloc.start()
    try:
        await write_whole({"project": "demo"}, None, out)  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert out.lines > CHATS
    assert peak < 1_000_000


@pytest.mark.parametrize("state", [{"project": "demo", "runs": [{"run": "x"}]}, {"outage": "MongoDB is away"}])
async def test_without_chats_and_without_a_database_it_is_one_object_too(
    state: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(every_chat, "each_parent", _none)
    out = io.StringIO()
    await write_whole(state, None, out)  # type: ignore[arg-type]
    written = json.loads(out.getvalue())
    empty = {"chat_messages": {"rows": [], "settled": 0, "unsettled": 0}}
    assert written == (state if "outage" in state else {**state, "ledger_per_parent": empty})
