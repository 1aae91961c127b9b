"""Dead letters of the extractor are counted, so that somebody is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from chatferry.common.entities import FAMILIES
from chatferry.common.errors import PermanentError
from chatferry.common.streaming.records import Outgoing
from chatferry.common.telemetry.metrics import Metrics
from chatferry.extractor.ports import Letter
from chatferry.extractor.steps.context import Drive
from chatferry.extractor.steps.publisher import Publisher, Store


class _Letters:
    def __init__(self) -> None:
        self.left = [
            Letter(f"source:{entity}:{number}@3", entity, Outgoing("demo.dlq", b"1", value, ()))
            for number, (entity, value) in enumerate([("chats", b"a"), ("chat_messages", b"b"), ("chats", b"large")])
        ]
        self.with_bytes: list[str] = []

    async def uncopied_dead_letters(self, limit: int) -> list[Letter]:
        return self.left[:limit]

    async def copied(self, letters: Sequence[str], *, keep_raw: bool) -> None:
        self.left = [letter for letter in self.left if letter.id not in letters]
        self.with_bytes.extend(letters if keep_raw else [])


class _Dlq:
    """Takes at most so many bytes in a record."""

    def __init__(self, most: int) -> None:
        self.most = most

    async def send(self, records: Sequence[Outgoing]) -> None:
        if any(len(one.value or b"") > self.most for one in records):
            raise PermanentError("record.too_large", "larger than the topic takes")


@pytest.mark.parametrize("most", [10, 1], ids=["all together", "one by one"])
async def test_each_letter_is_counted_once_as_rejected(most: int) -> None:
    letters, metrics = _Letters(), Metrics()
    drive = SimpleNamespace(metrics=metrics, lease=SimpleNamespace(portal="portal.test"))
    store = SimpleNamespace(outbox=None, unsent=None, published=None, letters=letters, runs=None, dlq=_Dlq(most))
    publisher = Publisher(FAMILIES["chats"], cast("Drive", drive), cast("Store", store), _Dlq(0), "demo")
    while await publisher._copy_dead_letters():
        pass
    shown = {
        entity: metrics.registry.get_sample_value("records_rejected_total", {"entity": entity})
        for entity in ("chats", "chat_messages")
    }
    assert shown == {"chats": 2, "chat_messages": 1}
    assert letters.with_bytes == ([] if most > 1 else ["source:chats:2@3"])
