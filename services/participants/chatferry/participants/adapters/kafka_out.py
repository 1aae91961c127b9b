"""What the service writes to Kafka: MAX's events as they came, and each change of a count."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chatferry.common.clock import Clock
from chatferry.common.contracts.envelope import Headers, common_headers, event_source, record_headers
from chatferry.common.contracts.events import CountChanged
from chatferry.common.errors import OutageError, PermanentError
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing
from chatferry.common.telemetry.traces import current_traceparent
from chatferry.participants.domain.counts import ChatId, Count
from chatferry.participants.domain.updates import Update
from chatferry.participants.ports import Change

_UPDATE, _COUNT_CHANGED, _ENDED = "max.update", "participants.count_changed", "participants.ended"
_DEADLINE_S = 10.0
_WAITING_BYTES_MAX = 16 * 1024 * 1024
_SENTENCE = "Kafka does not take MAX's events now; MAX sends them again"


@dataclass(slots=True)
class _Batch:
    records: list[Outgoing] = field(default_factory=list)
    size: int = 0
    begun: bool = False
    sending: asyncio.Task[None] | None = None


class Together:
    """What comes while something is being sent goes as one, after it: few requests, and the order in which it came."""

    def __init__(self, producer: RecordProducer) -> None:
        self._producer = producer
        self._last = _Batch(begun=True)

    async def send(self, record: Outgoing, deadline_s: float) -> None:
        """Returns when Kafka has it. OutageError, at the deadline at the latest: then it may arrive or not.

        PermanentError (`record.too_large`): nothing of it was sent.
        """
        if not self._producer.fits(record):
            # Sent with others it would be refused with them.
            raise PermanentError("record.too_large", "an event of MAX is larger than its topic takes")
        batch = self._joined(record)
        assert batch.sending is not None
        try:
            async with asyncio.timeout(deadline_s):
                # Whoever gives up waiting takes nothing from the others.
                await asyncio.shield(batch.sending)
        except TimeoutError:
            raise OutageError("kafka", _SENTENCE) from None

    def _joined(self, record: Outgoing) -> _Batch:
        batch, size = self._last, len(record.value or b"")
        if batch.begun:
            before = batch.sending
            batch = self._last = _Batch()
            batch.sending = asyncio.create_task(self._send(batch, before), name="records sent together")
        elif batch.size + size > _WAITING_BYTES_MAX:
            raise OutageError("kafka", _SENTENCE)
        batch.records.append(record)
        batch.size += size
        return batch

    async def _send(self, batch: _Batch, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        batch.begun = True
        await self._producer.send(batch.records)


class KafkaInbox:
    """Port `Inbox`. A webhook answers 200 only after this has returned, and MAX waits for 30 s."""

    def __init__(self, topic: str, project: str, producer: RecordProducer, clock: Clock) -> None:
        self._topic, self._source, self._clock = topic, event_source(project, "max"), clock
        self._together = Together(producer)
        self._deadline_s = _DEADLINE_S

    def with_deadline(self, seconds: float) -> KafkaInbox:
        """Give up after this time; returns itself."""
        self._deadline_s = seconds
        return self

    async def put(self, update: Update, body: bytes) -> None:
        # All events of a chat in one partition, in the order in which they came; a type of its own has one, too.
        subject = (update.type if update.chat is None else str(update.chat)).encode()
        headers: Headers = (
            ("ce_id", update.identity.encode()),
            ("ce_type", _UPDATE.encode()),
            ("ce_subject", subject),
            *common_headers(self._source, self._clock.now(), current_traceparent()),
        )
        await self._together.send(Outgoing(self._topic, subject, body, headers), self._deadline_s)


class KafkaAnnouncements:
    """Port `Announcements`."""

    def __init__(self, topic: str, project: str, producer: RecordProducer, clock: Clock) -> None:
        self._topic, self._source, self._producer, self._clock = topic, event_source(project, "max"), producer, clock

    async def count_changed(self, changes: Sequence[Change]) -> None:
        common = common_headers(self._source, self._clock.now(), None)
        await self._producer.send([self._announcement(change, common) for change in changes])

    def _announcement(self, change: Change, common: Headers) -> Outgoing:
        kind = _ENDED if change.count is None else _COUNT_CHANGED
        body = None if change.count is None else _body(change.chat, change.count)
        headers = record_headers(f"participants:{change.chat}", change.seq, kind, common=common)
        return Outgoing(self._topic, b"%d" % change.chat, body, headers)


def _body(chat: ChatId, count: Count) -> bytes:
    at_ms = count.updated_at_ms
    body = CountChanged(
        chat_id=chat,
        count=count.count,
        state=count.mark.value,
        updated_at=None if at_ms is None else datetime.fromtimestamp(at_ms / 1_000, UTC),
    )
    return body.model_dump_json().encode()
