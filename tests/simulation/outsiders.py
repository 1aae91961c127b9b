"""Everybody else who writes: the extractor, which stores and publishes, and the operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from tests.simulation.log import Log
from tests.simulation.plan import Step
from tests.simulation.promises import Promises
from tests.simulation.stores import Store

from chatferry.common.contracts.canonical import canonical_json
from chatferry.common.contracts.envelope import REPLAY_OF, Headers, common_headers, record_headers
from chatferry.common.documents import IMPORT_ERR, NEW, SKIPPED
from chatferry.common.entities import ENTITIES
from chatferry.common.streaming.records import StoredRecord
from chatferry.importer.domain.records import UNDECODABLE, UNKNOWN, place_of

_COMMON = common_headers("/chatferry/p/portal", datetime(2026, 1, 1, tzinfo=UTC), None)
_MESSAGES, _CHATS = ENTITIES["chat_messages"], ENTITIES["chats"]
_STRANGER = 90


@lru_cache(maxsize=4096)
def _chat(number: int, version: int) -> bytes:
    nothing = dict.fromkeys(("description", "owner_id", "created_at", "entity_type", "entity_id"))
    ids: dict[str, list[int]] = {"manager_ids": [], "participant_ids": []}
    return canonical_json({"id": number, "type": "group", "title": f"version {version}", **ids, **nothing})


@lru_cache(maxsize=4096)
def _message(number: int, chat: int, version: int) -> bytes:
    moment = {
        "source_original": "2026-01-01T00:00:00+00:00",
        "utc": "2026-01-01T00:00:00Z",
        "original_offset": "+00:00",
    }
    flags = dict.fromkeys(("system", "deleted", "edited"), False)
    nothing = dict.fromkeys(("author_id", "reply_to", "forwarded_from"))
    lists: dict[str, list[Any]] = {"files": [], "reactions": []}
    rest = {**flags, **nothing, **lists}
    return canonical_json({"id": number, "chat_id": chat, "text": f"version {version}", "sent_at": moment, **rest})


@dataclass
class Outsiders:
    """`wake` is called once something new stands on a topic."""

    store: Store
    log: Log
    promises: Promises
    wake: Callable[[], None]
    _version: int = 0
    _unpublished: list[tuple[int, int]] = field(default_factory=list)
    _appended: list[StoredRecord] = field(default_factory=list)

    def step(self, step: Step) -> None:
        """One step of the plan; the edits before it are published now."""
        self.flush()
        if step.kind in ("close", "open"):
            self.set_open(step.kind == "open")
        elif step.kind == "replay":
            self.replay()
        elif step.kind == "discard":
            self._discard()
        else:
            self._write(step)

    def flush(self) -> bool:
        """Publish what is stored and not published yet; whether there was something."""
        waiting, self._unpublished = self._unpublished, []
        for one in waiting:
            self._publish(*one)
        return bool(waiting)

    def set_open(self, open_: bool) -> None:
        """The Set begins or ends."""
        self.store.families["chats"] = replace(self.store.families["chats"], set_open=open_)

    def resume(self) -> bool:
        """The operator lets the family go on after too many died; whether it was halted."""
        state = self.store.families["chats"]
        self.store.families["chats"] = replace(state, halted=None)
        return state.halted is not None

    def replay(self) -> bool:
        """Send what is dead again, in order per chat; whether there was something to send."""
        living = [
            (place, row)
            for place, row in sorted(self.store.dead.items(), key=lambda one: one[1]["dead"].raw.offset)
            if row["state"] == "dead" and row["copied"] and row["dead"].error_class not in (UNDECODABLE, UNKNOWN)
        ]
        for place, row in living:
            row["state"] = "replaying"
            record = row["dead"].record
            document = self.store.documents[record.key]
            if document["version"] == record.version and document["status"] == IMPORT_ERR:
                self.store.write(record.key, status=NEW, attempts=0)
            headers = [header for header in record.raw.headers if header[0] != REPLAY_OF]
            told = (record.key, record.version)
            self._append(record.entity.name, record.line.parent, record.body, (*headers, (REPLAY_OF, place.encode())))
            self.promises.published[place_of(self._appended[-1])] = told
        return bool(living)

    def _discard(self) -> None:
        for row in self.store.dead.values():
            if row["state"] == "dead" and row["copied"] and row["dead"].record is not None:
                row["state"] = "discarded"
                record = row["dead"].record
                document = self.store.documents.get(record.key)
                if document and document["version"] == record.version and document["status"] == IMPORT_ERR:
                    self.store.write(record.key, status=SKIPPED, skip_reason="discarded")
                return

    def _write(self, step: Step) -> None:
        numbers = self.promises.numbers.setdefault(step.chat, [])
        if step.kind == "chat":
            self._store_and_publish(step.chat, 0)
        elif step.kind == "message":
            numbers.append((len(numbers) + 1) * 100 + step.chat)
            self._store_and_publish(step.chat, numbers[-1])
        elif step.kind == "edit":
            known = [0, *numbers]
            self._store(step.chat, known[step.number % len(known)])
        elif step.kind == "again" and self._appended:
            first = self._appended[step.number % len(self._appended)]
            self._append(first.topic[2:], int(first.key or b"0"), first.value, first.headers)
            self.promises.published[place_of(self._appended[-1])] = self.promises.published[place_of(first)]
        elif step.kind == "broken":
            self._append("chat_messages", step.chat, b"{", ())
            self.promises.published[place_of(self._appended[-1])] = None
        elif step.kind == "unknown":
            self._publish_stranger(step.chat)

    def _store_and_publish(self, chat: int, number: int) -> None:
        self._store(chat, number)
        self.flush()

    def _store(self, chat: int, number: int) -> None:
        self._version += 1
        self.store.add(self._key(chat, number), self._version)
        self._unpublished.append((chat, number))

    def _publish(self, chat: int, number: int) -> None:
        key = self._key(chat, number)
        version = self.store.documents[key]["version"]
        self._send(chat, number, version)

    def _publish_stranger(self, chat: int) -> None:
        self._version += 1
        number = _STRANGER * 100 + chat
        self.promises.strangers.add(self._key(chat, number))
        self._send(chat, number, self._version)

    def _send(self, chat: int, number: int, version: int) -> None:
        entity = _MESSAGES if number else _CHATS
        value = _message(number, chat, version) if number else _chat(chat, version)
        key = self._key(chat, number)
        self._append(entity.name, chat, value, record_headers(key, version, entity.event_type, common=_COMMON))
        self.promises.published[place_of(self._appended[-1])] = (key, version)

    def _key(self, chat: int, number: int) -> str:
        return str(_MESSAGES.key(number) if number else _CHATS.key(chat))

    def _append(self, entity: str, line: int, value: bytes | None, headers: Headers | Any) -> None:
        self._appended.append(self.log.append(f"p.{entity}", line, value, headers))
        self.wake()
