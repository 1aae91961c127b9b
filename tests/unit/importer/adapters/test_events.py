"""The results that subscribers get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from tests.unit.importer.fakes import FakeClock
from tests.unit.importer.machine import Machine, message

from chatferry.common.entities import ENTITIES
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing
from chatferry.importer.adapters.events import KafkaEvents
from chatferry.importer.domain import read_record
from chatferry.importer.ports import Dead, Done


class _Producer:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.sent += records


async def test_a_result_has_an_id_of_its_own_so_that_a_reader_of_both_topics_drops_neither() -> None:
    producer = _Producer()
    sender = cast("RecordProducer", producer)
    events = KafkaEvents(("p.results", sender), ("p.dlq", sender), FakeClock())
    raw = Machine().publish("chat_messages", message(101, 1))
    record = read_record(raw, ENTITIES["chat_messages"], "p")
    await events.imported([Done(record, "created", "t1")])
    await events.imported([Done(record, "skipped", None)])
    await events.failed([Dead(raw, record.entity, record, "permanent", "target.NO", "refused", 1)])
    ids = [dict(sent.headers)["ce_id"] for sent in producer.sent]
    assert ids == [
        b"source:chat:msg:101@1/imported",
        b"source:chat:msg:101@1/imported",
        b"source:chat:msg:101@1/failed/p.chat_messages/1/0",
    ]
    assert dict(raw.headers)["ce_id"] not in ids
