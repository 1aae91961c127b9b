"""How Kafka's records enter: the portal's chats and messages, and what MAX has told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from chatferry.common.contracts.envelope import BrokenEnvelopeError, read_envelope
from chatferry.common.errors import OutageError
from chatferry.common.streaming.progress import Progress
from chatferry.common.streaming.records import Partition, RawRecord
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.updates import BrokenUpdateError, Update, read_update
from chatferry.participants.ports import Catalogue, SourceChat

CHATS, MESSAGES, UPDATES = "chats", "chat_messages", "max.updates"
# Readers of the same process wait for a page meanwhile.
_AT_ONCE = 100
_LARGEST_ID = 2**53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Skipped = Callable[[str, str], None]
"""Told of each record that is passed over: entity, reason."""
Probe = Callable[[OutageError], Awaitable[None]]
"""Asks a part that was away for something small. Raises OutageError."""


class _UnreadableError(Exception):
    """The record says nothing to us. The text is the reason, and nothing of the record."""


class _Passive:
    """What both workers do not do: they hold nothing between two deliveries."""

    _probe: Probe

    async def rebalanced(self, owned: Mapping[Partition, int]) -> None:
        del owned

    async def idle(self) -> None:
        """Nothing waits for time."""

    async def probe(self, away: OutageError) -> None:
        await self._probe(away)


class SourceWorker(_Passive):
    """Port RecordWorker of the runtime, for the records of the portal: `chats` and `chat_messages` (full names).

    Writing what is written already changes nothing, so that a topic may be read again from its start.
    """

    def __init__(self, catalogue: Catalogue, topics: tuple[str, str], skipped: Skipped, probe: Probe) -> None:
        self._catalogue, self._skipped, self._probe = catalogue, skipped, probe
        self._chats, self._messages = topics

    async def deliver(self, records: Sequence[RawRecord], progress: Progress) -> None:
        chats: dict[ChatId, SourceChat] = {}
        newest: dict[ChatId, int] = {}
        for some in _slices(records):
            self._sort(some, chats, newest)
            await asyncio.sleep(0)
        await self._catalogue.note_sources(chats.values())
        await self._catalogue.note_activity(newest)
        progress.finish(records)

    def _sort(self, records: Iterable[RawRecord], chats: dict[ChatId, SourceChat], newest: dict[ChatId, int]) -> None:
        for record in records:
            try:
                if record.topic == self._messages:
                    chat, sent_ms = read_message(record)
                    if sent_ms > newest.get(chat, sent_ms - 1):
                        newest[chat] = sent_ms
                else:
                    source = read_chat(record)
                    known = chats.get(source.id)
                    if known is None or source.version > known.version:
                        chats[source.id] = source
            except _UnreadableError as reason:
                self._skipped(MESSAGES if record.topic == self._messages else CHATS, str(reason))


class UpdateWorker(_Passive):
    """Port RecordWorker of the runtime, for `max.updates`. `apply` gets them in order; it may get one again."""

    def __init__(self, apply: Callable[[Sequence[Update]], Awaitable[None]], skipped: Skipped, probe: Probe) -> None:
        self._apply, self._skipped, self._probe = apply, skipped, probe

    async def deliver(self, records: Sequence[RawRecord], progress: Progress) -> None:
        for some in _slices(records):
            updates = [update for record in some if (update := self._read(record)) is not None]
            if updates:
                await self._apply(updates)
            # What is applied is not asked for again after an outage.
            progress.finish(some)

    def _read(self, record: RawRecord) -> Update | None:
        if record.value is None:
            self._skipped(UPDATES, "body.null")
            return None
        try:
            return read_update(record.value)
        except BrokenUpdateError:
            self._skipped(UPDATES, "body.invalid")
            return None


def read_message(record: RawRecord) -> tuple[ChatId, int]:
    """Chat and time of a message, in milliseconds; its other fields are not looked at. Raises _UnreadableError."""
    body = _body(record)
    return ChatId(_id(body.get("chat_id"))), _moment(body.get("sent_at"))


def read_chat(record: RawRecord) -> SourceChat:
    """A chat as the portal has it. Raises _UnreadableError."""
    try:
        version = read_envelope(record.headers).version
    except BrokenEnvelopeError:
        raise _UnreadableError("envelope.broken") from None
    body = _body(record)
    title, members, created = body.get("title"), body.get("participant_ids"), body.get("created_at")
    if not isinstance(members, list) or not isinstance(title, str | None):
        raise _UnreadableError("body.invalid")
    created_ms = None if created is None else _moment(created)
    return SourceChat(ChatId(_id(body.get("id"))), version, title, created_ms, len(members))


def _body(record: RawRecord) -> dict[str, Any]:
    if record.value is None:
        raise _UnreadableError("body.null")
    try:
        body = orjson.loads(record.value)
    except orjson.JSONDecodeError:
        raise _UnreadableError("body.not_json") from None
    if not isinstance(body, dict):
        raise _UnreadableError("body.invalid")
    return body


def _id(told: object) -> int:
    if type(told) is not int or not 0 < told <= _LARGEST_ID:
        raise _UnreadableError("body.invalid")
    return told


def _moment(told: object) -> int:
    """Of a SourceTime, whose `utc` is ISO 8601 with a Z."""
    try:
        moment = datetime.fromisoformat(told["utc"])  # type: ignore[index]
        since = moment - _EPOCH
    except (TypeError, KeyError, ValueError, OverflowError):
        raise _UnreadableError("body.invalid") from None
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def _slices(records: Sequence[RawRecord]) -> Iterator[Sequence[RawRecord]]:
    for start in range(0, len(records), _AT_ONCE):
        yield records[start : start + _AT_ONCE]
