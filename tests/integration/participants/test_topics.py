"""The service's topics on a real Kafka: events come in as MAX sent them, in order, in few requests, or not at all."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.contract.participants.fake_catalogue import FakeCatalogue

from chatferry.common.bootstrap import until_served
from chatferry.common.clock import SystemClock
from chatferry.common.contracts.envelope import common_headers, record_headers
from chatferry.common.errors import OutageError, PermanentError
from chatferry.common.health import Health
from chatferry.common.streaming.consumer import ConsumerSettings, RecordConsumer, open_broker
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing, RawRecord
from chatferry.common.streaming.worker import RecordWorker
from chatferry.participants.adapters.kafka_out import KafkaAnnouncements, KafkaInbox
from chatferry.participants.domain.counts import ChatId, Count, Mark, Stamp
from chatferry.participants.domain.updates import Update, read_update
from chatferry.participants.handlers import SourceWorker, UpdateWorker
from chatferry.participants.ports import Change
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
NAMES = ("chats", "chat_messages", "max.updates", "participants")


@pytest.fixture
async def project(stack: Addresses) -> AsyncIterator[str]:
    """Its topics, three partitions each."""
    name = f"part-{uuid.uuid4().hex[:8]}"
    topics = [f"{name}.{topic}" for topic in NAMES]
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 3, 1) for topic in topics])
        await until_served(admin, topics)
        yield name
        await admin.delete_topics(topics)
    finally:
        await admin.close()


class _Counting(RecordProducer):
    """Counts the requests that it is asked for, and may be held up in one."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(bootstrap, client_id="tests")
        self.sizes: list[int] = []
        self.free = asyncio.Event()
        self.free.set()

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.sizes.append(len(records))
        await self.free.wait()
        await super().send(records)


@pytest.fixture
async def producer(stack: Addresses) -> AsyncIterator[_Counting]:
    producer = _Counting(stack.kafka)
    yield producer
    await producer.close()


def _body(number: int, chat: int | None = -5, kind: str = "user_added") -> bytes:
    named = {} if chat is None else {"chat_id": chat}
    return json.dumps({"update_type": kind, "timestamp": number, "extra": " ü ", **named}).encode()


async def _put(inbox: KafkaInbox, body: bytes) -> None:
    await inbox.put(read_update(body), body)


async def _all(stack: Addresses, topic: str) -> list[RawRecord]:
    """What is there now, partition by partition."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=stack.kafka, auto_offset_reset="earliest")
    await consumer.start()
    found: list[RawRecord] = []
    try:
        for partition in sorted(consumer.assignment()):
            [end] = (await consumer.end_offsets([partition])).values()
            while await consumer.position(partition) < end:
                found += (await consumer.getmany(partition, timeout_ms=200)).get(partition, [])
    finally:
        await consumer.stop()
    return found


async def test_an_event_is_kept_as_it_came_under_its_chat(stack: Addresses, project: str, producer: _Counting) -> None:
    inbox = KafkaInbox(f"{project}.max.updates", project, producer, SystemClock())
    bodies = {b"-5": _body(1), b"bot_new": _body(2, None, "bot_new")}
    for body in bodies.values():
        await _put(inbox, body)
    records = await _all(stack, f"{project}.max.updates")
    assert {record.key: record.value for record in records} == bodies
    [headers] = [dict(record.headers) for record in records if record.key == b"-5"]
    assert (headers["ce_type"], headers["ce_id"]) == (b"max.update", b"user_added:-5:None:1")
    assert (headers["ce_source"], headers["ce_subject"]) == (f"/chatferry/{project}/max".encode(), b"-5")


async def test_events_that_come_at_once_go_together_and_stay_in_order(
    stack: Addresses, project: str, producer: _Counting
) -> None:
    inbox = KafkaInbox(f"{project}.max.updates", project, producer, SystemClock())
    await asyncio.gather(*(_put(inbox, _body(number)) for number in range(300)))
    records = await _all(stack, f"{project}.max.updates")
    assert [json.loads(record.value or b"")["timestamp"] for record in records] == list(range(300))
    assert len(producer.sizes) <= 2


async def test_who_waits_too_long_is_told_so_and_the_others_are_served(
    stack: Addresses, project: str, producer: _Counting
) -> None:
    topic = f"{project}.max.updates"
    inbox = KafkaInbox(topic, project, producer, SystemClock())
    hasty = KafkaInbox(topic, project, producer, SystemClock()).with_deadline(0.1)
    hasty._together = inbox._together
    producer.free.clear()
    first = asyncio.create_task(_put(inbox, _body(1)))
    while not producer.sizes:  # noqa: ASYNC110
        await asyncio.sleep(0)
    with pytest.raises(OutageError) as away:
        await _put(hasty, _body(2))
    assert away.value.part == "kafka"
    producer.free.set()
    await first
    await _put(inbox, _body(3))
    times = [json.loads(record.value or b"")["timestamp"] for record in await _all(stack, topic)]
    assert times == [1, 2, 3]


async def test_without_kafka_an_event_is_refused_in_time() -> None:
    producer = RecordProducer("127.0.0.1:9", client_id="tests", timeout_ms=500)
    inbox = KafkaInbox("p.max.updates", "p", producer, SystemClock()).with_deadline(2)
    outcomes = await asyncio.gather(*(_put(inbox, _body(number)) for number in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OutageError] * 5
    await producer.close()


async def test_an_event_that_no_topic_can_take_is_refused_alone(
    stack: Addresses, project: str, producer: _Counting
) -> None:
    inbox = KafkaInbox(f"{project}.max.updates", project, producer, SystemClock())
    huge = _body(1)[:-1] + b', "text": "' + b"x" * 1_100_000 + b'"}'
    outcomes = await asyncio.gather(_put(inbox, _body(2)), _put(inbox, huge), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), PermanentError]
    assert len(await _all(stack, f"{project}.max.updates")) == 1


async def test_a_change_is_announced_under_its_chat_with_its_number(
    stack: Addresses, project: str, producer: _Counting
) -> None:
    announcements = KafkaAnnouncements(f"{project}.participants", project, producer, SystemClock())
    changes = [
        Change(ChatId(-5), Count(10, Mark.CONFIRMED, Stamp(3, 1_772_582_400_250)), 17),
        Change(ChatId(7), Count(4, Mark.STATIC), 18),
        Change(ChatId(-6), None, 19),
    ]
    await announcements.count_changed(changes)
    records = {record.key: record for record in await _all(stack, f"{project}.participants")}
    confirmed, static = records[b"-5"], records[b"7"]
    assert json.loads(confirmed.value or b"") == {
        "chat_id": -5,
        "count": 10,
        "state": "confirmed",
        "updated_at": "2026-03-04T00:00:00.250000Z",
    }
    assert dict(confirmed.headers)["ce_id"] == b"participants:-5@17"
    assert dict(confirmed.headers)["ce_recordversion"] == b"17"
    assert json.loads(static.value or b"") == {"chat_id": 7, "count": 4, "state": "static", "updated_at": None}
    ended = records[b"-6"]
    assert ended.value is None
    assert dict(ended.headers)["ce_type"] == b"participants.ended"


@asynccontextmanager
async def _consuming(
    stack: Addresses, worker: RecordWorker, group: str, topics: tuple[str, ...]
) -> AsyncIterator[None]:
    broker, stopping = open_broker(stack.kafka, client_id="tests"), asyncio.Event()
    consumer = RecordConsumer(broker, ConsumerSettings(group, topics), worker, SystemClock(), Health())
    running = asyncio.create_task(consumer.run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await running


async def _active(catalogue: FakeCatalogue) -> list[ChatId]:
    return [entry.id for entry in (await catalogue.changed(0, 9))[0] if entry.activity_ms is not None]


async def _alive(away: OutageError) -> None:
    del away


async def test_the_portals_records_are_read_from_the_start_whenever_the_service_comes(
    stack: Addresses, project: str, producer: _Counting
) -> None:
    topics = (f"{project}.chats", f"{project}.chat_messages")
    common = common_headers(f"/chatferry/{project}/portal", datetime.now(UTC), None)
    time = {"source_original": "", "utc": "2026-03-04T00:00:00Z", "original_offset": "+00:00"}
    messages: list[dict[str, Any]] = [{"id": n, "chat_id": n % 5 + 1, "sent_at": time} for n in range(1_000)]
    chats: list[dict[str, Any]] = [
        {"id": n, "title": None, "participant_ids": [1, 2], "created_at": None} for n in range(1, 6)
    ]
    await producer.send(
        [
            Outgoing(topic, b"%d" % body["id"], json.dumps(body).encode(), record_headers("k", 1, "t", common=common))
            for topic, bodies in zip(topics, (chats, messages), strict=True)
            for body in [*bodies, {"id": 1}]
        ]
    )
    catalogue, skipped = FakeCatalogue(), list[tuple[str, str]]()
    worker = SourceWorker(catalogue, topics, lambda entity, reason: skipped.append((entity, reason)), _alive)
    async with _consuming(stack, worker, f"{project}.participants.catalogue", topics), asyncio.timeout(30):
        while len(skipped) < 2 or len(await _active(catalogue)) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert sorted(skipped) == [("chat_messages", "body.invalid"), ("chats", "body.invalid")]


async def test_what_was_put_is_heard_in_order_by_the_group_of_all_replicas(
    stack: Addresses, project: str, producer: _Counting
) -> None:
    topic, heard = f"{project}.max.updates", list[int]()

    async def apply(updates: Sequence[Update]) -> None:
        heard.extend(update.at_ms for update in updates)

    worker = UpdateWorker(apply, lambda *what: None, _alive)
    inbox = KafkaInbox(topic, project, producer, SystemClock())
    async with _consuming(stack, worker, f"{project}.participants.updates", (topic,)), asyncio.timeout(30):
        await asyncio.gather(*(_put(inbox, _body(number)) for number in range(50)))
        while len(heard) < 50:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert heard == list(range(50))
