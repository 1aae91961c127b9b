"""What the workers make of Kafka's records: what counts is taken, what cannot be read is counted and passed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.contract.participants.fake_catalogue import FakeCatalogue

from chatferry.common.contracts.envelope import common_headers, event_source, record_headers
from chatferry.common.errors import OutageError
from chatferry.common.streaming.progress import Progress
from chatferry.common.streaming.records import Partition, StoredRecord
from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.updates import Update
from chatferry.participants.handlers import SourceWorker, UpdateWorker

NOW = datetime(2026, 3, 4, tzinfo=UTC)
COMMON = common_headers(event_source("demo", "portal.example"), NOW, None)
TOPICS = ("demo.chats", "demo.chat_messages")
MARCH_MS = 1_772_582_400_000


def _time(utc: str = "2026-03-04T00:00:00Z") -> dict[str, str]:
    return {"source_original": "x", "utc": utc, "original_offset": "+03:00"}


def _chat(number: int, **changes: Any) -> dict[str, Any]:
    known = {"id": number, "title": f"chat {number}", "participant_ids": [1, 2, 3], "created_at": _time()}
    return {**known, "type": "group", "owner_id": None, **changes}


def _message(chat: int, utc: str, **changes: Any) -> dict[str, Any]:
    return {"id": 1, "chat_id": chat, "text": "secret", "sent_at": _time(utc), "forwarded_from": None, **changes}


class _Log:
    """Records of the topics, with growing offsets."""

    def __init__(self) -> None:
        self.records: list[StoredRecord] = []

    def add(self, topic: str, body: object, version: int = 1) -> None:
        value = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = record_headers("key", version, "kind", common=COMMON)
        self.records.append(StoredRecord(topic, 0, len(self.records), 0, b"1", value, headers))

    def chat(self, body: object, version: int = 1) -> None:
        self.add(TOPICS[0], body, version)

    def message(self, body: object) -> None:
        self.add(TOPICS[1], body)


class _Sources:
    """A worker on the catalogue in memory."""

    def __init__(self) -> None:
        self.catalogue = FakeCatalogue()
        self.skipped: Counter[tuple[str, str]] = Counter()
        self.worker = SourceWorker(self.catalogue, TOPICS, lambda *what: self.skipped.update([what]), _alive)

    async def deliver(self, log: _Log) -> list[Entry]:
        progress = Progress(log.records)
        await self.worker.deliver(log.records, progress)
        assert progress.unfinished() == {}
        return list((await self.catalogue.changed(0, 1_000))[0])


async def _alive(away: OutageError) -> None:
    del away


async def test_a_chat_is_its_title_its_members_and_its_beginning() -> None:
    log = _Log()
    log.chat(_chat(7))
    log.chat(_chat(8, title=None, created_at=None, participant_ids=[]))
    entries = await _Sources().deliver(log)
    assert entries == [Entry(ChatId(7), "chat 7", MARCH_MS, None, 3), Entry(ChatId(8), None, None, None, 0)]


async def test_of_one_chat_the_newest_version_counts_in_whatever_order_they_come() -> None:
    log = _Log()
    for version in (2, 5, 3):
        log.chat(_chat(7, title=f"version {version}"), version)
    [entry] = await _Sources().deliver(log)
    assert entry.title == "version 5"


async def test_the_activity_of_a_chat_is_its_newest_message() -> None:
    log, sources = _Log(), _Sources()
    log.chat(_chat(7))
    for utc in ("2026-03-04T00:00:01Z", "2026-03-04T00:00:02.5Z", "2026-03-04T00:00:02Z"):
        log.message(_message(7, utc))
    [entry] = await sources.deliver(log)
    assert entry.activity_ms == MARCH_MS + 2_500
    later = _Log()
    later.message(_message(7, "2026-03-03T00:00:00Z"))
    [entry] = await sources.deliver(later)
    assert entry.activity_ms == MARCH_MS + 2_500


async def test_a_message_of_before_1970_is_one_too() -> None:
    log = _Log()
    log.chat(_chat(7))
    log.message(_message(7, "1969-12-31T23:59:59.25Z"))
    [entry] = await _Sources().deliver(log)
    assert entry.activity_ms == -750


async def test_messages_before_their_chat_are_kept() -> None:
    log, sources = _Log(), _Sources()
    log.message(_message(7, "2026-03-04T00:00:01Z"))
    assert await sources.deliver(log) == []
    chats = _Log()
    chats.chat(_chat(7))
    [entry] = await sources.deliver(chats)
    assert entry.activity_ms == MARCH_MS + 1_000


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "body.null"),
        (b"\xff{", "body.not_json"),
        ([], "body.invalid"),
        (_message(0, "2026-03-04T00:00:01Z"), "body.invalid"),
        (_message(2**60, "2026-03-04T00:00:01Z"), "body.invalid"),
        (_message(7, "2026-03-04T00:00:01Z", chat_id=True), "body.invalid"),
        (_message(7, "2026-03-04T00:00:01Z", chat_id="7"), "body.invalid"),
        (_message(7, "yesterday"), "body.invalid"),
        (_message(7, "2026-03-04T00:00:01"), "body.invalid"),
        (_message(7, "", sent_at=None), "body.invalid"),
        (_message(7, "", sent_at="2026-03-04T00:00:01Z"), "body.invalid"),
        (_message(7, "", sent_at={}), "body.invalid"),
        (_message(7, "", sent_at={"utc": 5}), "body.invalid"),
    ],
)
async def test_a_message_that_cannot_be_read_is_counted_and_passed(body: object, reason: str) -> None:
    log, sources = _Log(), _Sources()
    log.message(body)
    log.chat(_chat(7))
    log.message(_message(7, "2026-03-04T00:00:00Z"))
    [entry] = await sources.deliver(log)
    assert entry.activity_ms == MARCH_MS
    assert sources.skipped == {("chat_messages", reason): 1}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "body.null"),
        (b"<html>", "body.not_json"),
        (_chat(-7), "body.invalid"),
        (_chat(7, title=5), "body.invalid"),
        (_chat(7, participant_ids=None), "body.invalid"),
        (_chat(7, participant_ids={}), "body.invalid"),
        (_chat(7, created_at="2026-03-04"), "body.invalid"),
    ],
)
async def test_a_chat_that_cannot_be_read_is_counted_and_passed(body: object, reason: str) -> None:
    log, sources = _Log(), _Sources()
    log.chat(body)
    log.chat(_chat(8))
    assert [entry.id for entry in await sources.deliver(log)] == [8]
    assert sources.skipped == {("chats", reason): 1}


async def test_a_chat_without_a_version_is_counted_and_passed() -> None:
    log, sources = _Log(), _Sources()
    log.records.append(StoredRecord(TOPICS[0], 0, 0, 0, b"1", json.dumps(_chat(7)).encode(), ()))
    assert await sources.deliver(log) == []
    assert sources.skipped == {("chats", "envelope.broken"): 1}


async def test_an_outage_leaves_every_record_to_be_delivered_again() -> None:
    sources, log = _Sources(), _Log()
    log.chat(_chat(7))
    log.message(_message(7, "2026-03-04T00:00:00Z"))

    async def away(newest_ms: Mapping[ChatId, int]) -> None:
        raise OutageError("mongodb", "away")

    sources.catalogue.note_activity = away  # type: ignore[method-assign]
    progress = Progress(log.records)
    with pytest.raises(OutageError):
        await sources.worker.deliver(log.records, progress)
    assert progress.unfinished() == {Partition(TOPICS[0], 0): 0, Partition(TOPICS[1], 0): 1}


class _Updates:
    """A worker that gives updates to a list, or fails."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.batches: list[list[Update]] = []
        self.skipped: Counter[tuple[str, str]] = Counter()
        self._fails_at = fails_at
        self.worker = UpdateWorker(self._apply, lambda *what: self.skipped.update([what]), self._probe)
        self.probed: list[str] = []

    async def _apply(self, updates: Sequence[Update]) -> None:
        if any(update.at_ms == self._fails_at for update in updates):
            raise OutageError("redis", "away")
        self.batches.append(list(updates))

    async def _probe(self, away: OutageError) -> None:
        self.probed.append(away.part)

    @property
    def moments(self) -> list[int]:
        return [update.at_ms for batch in self.batches for update in batch]


def _log_of_updates(count: int) -> _Log:
    log = _Log()
    for number in range(count):
        log.add("demo.max.updates", {"update_type": "user_added", "timestamp": number, "chat_id": -5})
    return log


async def test_updates_are_applied_in_order() -> None:
    updates, log = _Updates(), _log_of_updates(250)
    progress = Progress(log.records)
    await updates.worker.deliver(log.records, progress)
    assert updates.moments == list(range(250))
    assert progress.unfinished() == {}


@pytest.mark.parametrize(
    ("body", "reason"), [(None, "body.null"), (b"{", "body.invalid"), ({"timestamp": 1}, "body.invalid")]
)
async def test_a_broken_update_is_counted_and_passed(body: object, reason: str) -> None:
    updates, log = _Updates(), _Log()
    log.add("demo.max.updates", body)
    log.add("demo.max.updates", {"update_type": "user_added", "timestamp": 9, "chat_id": -5})
    progress = Progress(log.records)
    await updates.worker.deliver(log.records, progress)
    assert (updates.moments, updates.skipped) == ([9], {("max.updates", reason): 1})
    assert progress.unfinished() == {}


async def test_after_an_outage_only_what_was_not_applied_comes_again() -> None:
    updates, log = _Updates(fails_at=150), _log_of_updates(250)
    progress = Progress(log.records)
    with pytest.raises(OutageError):
        await updates.worker.deliver(log.records, progress)
    assert updates.moments == list(range(100))
    assert progress.unfinished() == {Partition("demo.max.updates", 0): 100}


async def test_a_part_that_was_away_is_asked_by_whoever_knows_it() -> None:
    updates = _Updates()
    await updates.worker.probe(OutageError("mongodb", "away"))
    assert updates.probed == ["mongodb"]
