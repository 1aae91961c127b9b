"""The ledger of deliveries for `check_ledger.py`: what became of each offset; no code of chatferry."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaTimeoutError
from tools.ledger_expected import Row
from tools.ledger_portal import PREFIX

_WAITS: Row = {"status": {"$in": ["NEW", "ERROR_RETRY"]}, "due": None}
_LIVING, _ENDED = ("dead", "replaying"), ("replayed", "superseded")
_COMPACTED = ("users", "chats")
_SILENT_S, _LOOKS, _PAUSE_S = 60.0, 3, 0.5


class Offsets:
    """`topics`: by entity, how its committed offsets ended; `committed`: which they were, by partition. `still`: no run
    is under way, so nothing may move but what a person replays.

    Committed offsets are read first, then the records that wait, then the topics, then what became of each record:
    whatever moves meanwhile moves towards its end. A topic that does not agree is looked at again from the start.
    """

    def __init__(self, database: Any, status: Row, still: bool, say: Callable[[str, str], None]) -> None:
        self._db, self._kafka, self._project = database, status["kafka"], status["project"]
        self._still, self._tell = still, say
        self.topics: dict[str, Counter[str]] = {entity: Counter() for entity in PREFIX}
        self.committed: dict[TopicPartition, int] = {}
        self._found: list[tuple[str, str]] = []
        self._coming: set[str] = set()
        self._nowhere: dict[str, tuple[str, int]] = {}

    def _say(self, where: str, what: str) -> None:
        self._found.append((where, what))

    async def read(self) -> None:
        """Say what does not agree. KafkaError when the broker does not answer."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._kafka)
        # From the start by itself: a seek races with the look for the default place, which is the end.
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=20,  # most partitions are empty, and each would keep the others waiting
        )
        try:
            await admin.start()
            await consumer.start()
            told = await admin.describe_topics([f"{self._project}.{entity}" for entity in PREFIX])
            numbers = {one["topic"]: [part["partition"] for part in one["partitions"]] for one in told}
            for entity in PREFIX:
                topic = f"{self._project}.{entity}"
                parts = [TopicPartition(topic, number) for number in numbers.get(topic, ())]
                await self._entity(admin, consumer, entity, parts)
        finally:
            await consumer.stop()
            await admin.close()

    async def _entity(self, admin: Any, consumer: AIOKafkaConsumer, entity: str, parts: list[TopicPartition]) -> None:
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(_PAUSE_S)
            self._found, self._coming, self._nowhere = [], set(), {}
            self.topics[entity].clear()
            if parts:
                group = await admin.list_consumer_group_offsets(f"{self._project}.importer")
                committed = {part: group[part].offset if part in group else 0 for part in parts}
                self.committed |= committed
                await self._topic(consumer, entity, committed)
            else:
                self._say(f"{self._project}.{entity}", "there is no such topic")
            if not self._found:
                return
        for where, what in self._found:
            self._tell(where, what)

    async def _topic(self, consumer: AIOKafkaConsumer, entity: str, committed: dict[TopicPartition, int]) -> None:
        waits = self._waiting(entity)
        consumer.assign(list(committed))
        ends, place = await consumer.end_offsets(committed), await consumer.beginning_offsets(committed)
        if entity not in _COMPACTED:
            place = dict.fromkeys(place, 0)  # nothing of it is ever deleted before the project is closed
        silent_since = monotonic()
        while left := [part for part in committed if await consumer.position(part) < ends[part]]:
            got = await consumer.getmany(*left, timeout_ms=1_000, max_records=1_000)
            if got:
                silent_since = monotonic()
            elif monotonic() - silent_since > _SILENT_S:
                raise KafkaTimeoutError
            for part, records in got.items():
                for record in records:
                    self._gone(entity, part, place[part], min(record.offset, committed[part]))
                    place[part] = record.offset + 1
                self._settle(entity, part, waits, [record for record in records if record.offset < committed[part]])
                self._come(entity, waits, [record for record in records if record.offset >= committed[part]])
        for part, offset in committed.items():
            self._gone(entity, part, place[part], min(offset, ends[part]))
            if offset > ends[part]:
                self._say(f"{part.topic}/{part.partition}", f"{offset} is committed, the topic ends at {ends[part]}")
        self._lost(entity, waits)
        if self._still:
            self._outlived(entity)

    def _come(self, entity: str, waits: dict[str, int], records: Sequence[Any]) -> None:
        self.topics[entity]["to come"] += len(records)
        for record in records:
            self._comes(waits, *_told(record))

    def _comes(self, waits: dict[str, int], key: str, version: int) -> None:
        """A delivery of it has no end yet, or a person has to end it."""
        if waits.get(key) == version:
            self._coming.add(key)

    def _waiting(self, entity: str) -> dict[str, int]:
        """Version by key of the records that wait and have been published.

        But for those that a replay has taken up: it sends them, be it after the topic was looked at.
        """
        marks = self._db.source_inventory.find({"unsent_from": {"$gte": 0}}, {"seq": 1, "unsent_from": 1})
        unsent = {} if entity in _COMPACTED else {row["seq"]: row["unsent_from"] for row in marks}
        waiting = self._db[entity].find(_WAITS, {"parent": 1, "seq": 1, "version": 1})
        sent = (doc for doc in waiting if doc["seq"] <= unsent.get(doc["parent"], doc["seq"]))
        waits = {doc["_id"]: doc["version"] for doc in sent}
        replays = self._db.dead_letters.find({"entity": entity, "state": "replaying"}, {"key": 1, "version": 1})
        for letter in replays:
            self._comes(waits, letter["key"], letter["version"])
        return waits

    def _gone(self, entity: str, part: TopicPartition, start: int, end: int) -> None:
        if entity in _COMPACTED:
            self.topics[entity]["compacted"] += max(0, end - start)
        elif start < end:
            self._say(f"{part.topic}/{part.partition}", f"offsets {start} to {end - 1} are gone from the topic")

    def _settle(self, entity: str, part: TopicPartition, waits: dict[str, int], records: Sequence[Any]) -> None:
        """`parked` is read before `dead_letters` and the records: a record only ever moves that way."""
        read = {f"{part.topic}/{part.partition}/{record.offset}": record for record in records}
        told = {place: _told(record) for place, record in read.items()}
        places, keys = {"_id": {"$in": list(read)}}, [key for key, _ in told.values()]
        parked = {row["_id"] for row in self._db.parked.find(places, {"_id": 1})}
        dead = {row["_id"]: row for row in self._db.dead_letters.find(places, {"key": 1, "state": 1})}
        living = {"key": {"$in": keys}, "state": {"$in": _LIVING}}
        letters = list(self._db.dead_letters.find(living, {"key": 1, "version": 1, "state": 1}))
        again = {(row["key"], row["version"]) for row in letters}
        replaying = {row["_id"] for row in letters if row["state"] == "replaying"}
        fields = {"version": 1, "imported_version": 1, "status": 1}
        there = {row["_id"]: row for row in self._db[entity].find({"_id": {"$in": keys}}, fields)}
        for place, (key, version) in told.items():
            side, letter = _end(there.get(key), version), dead.get(place)
            side = "dead" if side != "imported" and (letter or (key, version) in again) else side
            self.topics[entity]["parked" if place in parked else side] += 1
            if letter and letter["key"] is None and letter["state"] not in _ENDED:
                self._comes(waits, key, version)
            if place in parked:
                if self._still and (side == "imported" or (letter and letter["state"] == "dead")):
                    self._say(place, f"{key} version {version} is parked, and has ended too")
            elif side == "nowhere":
                self._nowhere[place] = key, version
            elif _replayed(read[place]) in replaying:
                self._say(place, f"{key} version {version} is committed, but what it replays is on its way still")

    def _lost(self, entity: str, waits: dict[str, int]) -> None:
        """Deliveries and records that nothing will ever bring to an end, unless they have moved since.

        Between the end of a letter and that of its record, the replay's delivery has none: it is parked, or to come.
        """
        for place, (key, version) in self._nowhere.items():
            here = self._db.parked.find_one({"entity": entity, "key": key, "version": version})
            if not here and (key not in self._coming or waits[key] != version):
                self._say(place, f"{key} version {version} is committed, and neither imported, parked nor dead")
        for key in waits.keys() - self._coming:
            waiting = self._db[entity].find_one({"_id": key, "version": waits[key], **_WAITS})
            if waiting and not self._db.parked.find_one({"entity": entity, "key": key}):
                self._say(key, "waits, and is neither due, parked nor on its topic")

    def _outlived(self, entity: str) -> None:
        """Letters of records that are imported, and that nobody is about to end.

        A document says by its error that an importer was cut off before it. A letter that is not marked copied is
        written down once more. A root may go out again before it is read again, which ends its older letters. What
        strangers wrote says nothing of the record.
        """
        dead = {"entity": entity, "state": "dead", "copied": True, "key": {"$ne": None}}
        known = {**dead, "error_class": {"$ne": "unknown"}}
        for letter in list(self._db.dead_letters.find(known, {"key": 1, "version": 1})):
            key, version = letter["key"], letter["version"]
            imported = {"_id": key, "imported_version": {"$gte": version}, "last_error": None}
            if entity in _COMPACTED:
                imported["version"] = version
            if self._db[entity].find_one(imported) and self._db.dead_letters.find_one({**dead, "_id": letter["_id"]}):
                self._say(letter["_id"], f"{key} version {version} is imported, and its dead letter lives on")


def _end(doc: Row | None, version: int) -> str:
    """What the record says of a delivery. Newer content is a delivery of its own."""
    if doc is None or not version:
        return "nowhere"
    if (doc.get("imported_version") or 0) >= version:
        return "imported"
    if doc["version"] > version:
        return "superseded"
    return "skipped" if doc["version"] == version and doc["status"] == "SKIPPED" else "nowhere"


def _told(record: Any) -> tuple[str, int]:
    """Key and version in the headers; `("?", 0)` where they are none."""
    headers = dict(record.headers)
    key, digits = (headers.get(name) or b"" for name in ("ce_subject", "ce_recordversion"))
    return key.decode(errors="replace") or "?", int(digits) if digits.isdigit() and len(digits) < 17 else 0


def _replayed(record: Any) -> str | None:
    """The dead letter that this is a replay of."""
    place = dict(record.headers).get("replay-of")
    return place.decode(errors="replace") if place else None
