"""Results and dead letters on Kafka."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from chatferry.common.clock import Clock
from chatferry.common.contracts.envelope import Headers, common_headers
from chatferry.common.errors import PermanentError
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing
from chatferry.importer.domain.records import ImportRecord, place_of
from chatferry.importer.ports import Dead, Done

_IMPORTED, _FAILED = b"record.imported", b"record.failed"


class KafkaEvents:
    """Port `Events`. `letters` is a producer whose batches take the largest record and 64 KiB of headers."""

    def __init__(self, results: tuple[str, RecordProducer], letters: tuple[str, RecordProducer], clock: Clock) -> None:
        self._results_topic, self._results = results
        self._letters_topic, self._letters = letters
        self._clock = clock

    async def imported(self, done: Sequence[Done]) -> None:
        common = _Common(self._clock)
        await self._results.send([self._imported(one, common) for one in done])

    async def failed(self, dead: Sequence[Dead]) -> None:
        common = _Common(self._clock)
        await self._results.send([self._failed(one, one.record, common) for one in dead if one.record is not None])

    async def copy_dead(self, dead: Sequence[Dead]) -> set[str]:
        letters = {place_of(one.raw): self._letter(one) for one in dead}
        alone = {place: letter for place, letter in letters.items() if not self._letters.fits(letter)}
        try:
            await self._letters.send([letter for place, letter in letters.items() if place not in alone])
        except PermanentError:
            alone = letters
        return {place for place, letter in alone.items() if not await self._goes_alone(letter)}

    async def _goes_alone(self, letter: Outgoing) -> bool:
        try:
            await self._letters.send([letter])
        except PermanentError:
            return False
        return True

    def _letter(self, dead: Dead) -> Outgoing:
        return Outgoing(self._letters_topic, dead.raw.key, dead.raw.value, (*dead.raw.headers, *what_happened(dead)))

    def _imported(self, done: Done, common: _Common) -> Outgoing:
        record = done.record
        body = {
            "key": record.key,
            "version": record.version,
            "entity": record.entity.name,
            "status": done.status,
            "target_id": done.target_id,
        }
        # Not the record's own id: whoever reads both topics would drop one of the two as a repeat.
        event_id = b"%s@%d/imported" % (record.key.encode(), record.version)
        headers = _headers(event_id, _IMPORTED, record, common)
        return Outgoing(self._results_topic, record.raw.key, orjson.dumps(body), headers)

    def _failed(self, dead: Dead, record: ImportRecord, common: _Common) -> Outgoing:
        body = {
            "key": record.key,
            "version": record.version,
            "entity": record.entity.name,
            "error_class": dead.error_class,
            "code": dead.code,
            "attempts": dead.attempts,
        }
        # Its own id: a replay of the same version may succeed, and subscribers drop what they have seen.
        event_id = f"{record.key}@{record.version}/failed/{place_of(dead.raw)}".encode()
        headers = _headers(event_id, _FAILED, record, common)
        return Outgoing(self._results_topic, record.raw.key, orjson.dumps(body), headers)


class _Common:
    """The headers that all results of one source and one trace share, built once each."""

    __slots__ = ("_known", "_now")

    def __init__(self, clock: Clock) -> None:
        self._now = clock.now()
        self._known: dict[tuple[str, str | None], Headers] = {}

    def of(self, record: ImportRecord) -> Headers:
        """Source and trace of the record."""
        named = (record.envelope.source, record.envelope.traceparent)
        headers = self._known.get(named)
        if headers is None:
            headers = self._known[named] = common_headers(named[0], self._now, named[1])
        return headers


def _headers(event_id: bytes, kind: bytes, record: ImportRecord, common: _Common) -> Headers:
    return (
        ("ce_id", event_id),
        ("ce_type", kind),
        ("ce_subject", record.key.encode()),
        ("ce_recordversion", b"%d" % record.version),
        *common.of(record),
    )


def what_happened(dead: Dead) -> Headers:
    """Headers that a copy on `dlq` has beside those of the record itself."""
    return (
        ("dlq-topic", dead.raw.topic.encode()),
        ("dlq-partition", b"%d" % dead.raw.partition),
        ("dlq-offset", b"%d" % dead.raw.offset),
        ("dlq-timestamp", b"%d" % dead.raw.timestamp),
        ("dlq-attempts", b"%d" % dead.attempts),
        ("dlq-error-class", dead.error_class.encode()),
        ("dlq-code", dead.code.encode()),
        ("dlq-message", dead.message.encode()),
    )
