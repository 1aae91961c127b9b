"""The results that subscribers get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from tests.unit.importer.fakes import FakeClock
from tests.unit.importer.machine import Machine, message

from chatferry.common.entities import ENTITIES
from chatferry.common.errors import PermanentError
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing
from chatferry.importer.adapters.events import KafkaEvents
from chatferry.importer.domain.records import place_of, read_record
from chatferry.importer.ports import Dead, Done


class _Producer:
    """Keeps what it is given; refuses a call with a body above `most`, though what is before it has arrived."""

    def __init__(self, most: int = 1_000_000) -> None:
        self.sent: list[Outgoing] = []
        self._most = most

    def fits(self, record: Outgoing) -> bool:
        return len(record.value or b"") <= self._most

    async def send(self, records: Sequence[Outgoing]) -> None:
        for record in records:
            if not self.fits(record):
                raise PermanentError("record.too_large", "too large")
            self.sent.append(record)


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


async def test_a_dead_letter_that_its_topic_cannot_take_makes_no_second_copy_of_the_others() -> None:
    producer, machine = _Producer(most=100), Machine()
    letters = cast("RecordProducer", producer)
    events = KafkaEvents(("p.results", letters), ("p.dlq", letters), FakeClock())
    raws = [machine.append("chat_messages", 1, b"x" * size, ()) for size in (10, 20, 200, 30)]
    dead = [Dead(raw, ENTITIES["chat_messages"], None, "undecodable", "body.not_json", "no", 0) for raw in raws]
    assert await events.copy_dead(dead) == {place_of(raws[2])}
    assert sorted(len(sent.value or b"") for sent in producer.sent) == [10, 20, 30]
