"""The ledger of deliveries for `check_ledger.py`: what became of each offset; no code of chatferry."""

from __future__ import annotations

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
_COMPACTED = ("users", "chats")
_SILENT_S = 60.0


class Offsets:
    """`topics`: by entity, how its committed offsets ended; `committed`: which they were, by partition. `still`: no run
    is under way, so nothing may move.

    Committed offsets are read first, then the records that wait, then the topics, then what became of each record:
    whatever moves meanwhile moves towards its end.
    """

    def __init__(self, database: Any, status: Row, still: bool, say: Callable[[str, str], None]) -> None:
        self._db, self._kafka, self._project = database, status["kafka"], status["project"]
        self._still, self._say = still, say
        self.topics: dict[str, Counter[str]] = {entity: Counter() for entity in PREFIX}
        self.committed: dict[TopicPartition, int] = {}

    async def read(self) -> None:
        """Say what does not agree. KafkaError when the broker does not answer."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._kafka)
        # From the start by itself: a seek races with the look for the default place, which is the end.
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        try:
            await admin.start()
            await consumer.start()
            group = await admin.list_consumer_group_offsets(f"{self._project}.importer")
            told = await admin.describe_topics([f"{self._project}.{entity}" for entity in PREFIX])
            numbers = {one["topic"]: [part["partition"] for part in one["partitions"]] for one in told}
            for entity in PREFIX:
                topic = f"{self._project}.{entity}"
                parts = [TopicPartition(topic, number) for number in numbers.get(topic, ())]
                if parts:
                    committed = {part: group[part].offset if part in group else 0 for part in parts}
                    self.committed |= committed
                    await self._topic(consumer, entity, committed)
                else:
                    self._say(topic, "there is no such topic")
        finally:
            await consumer.stop()
            await admin.close()

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
                    key, version = _told(record)
                    if waits.get(key) == version:
                        del waits[key]
                self._settle(entity, part, [record for record in records if record.offset < committed[part]])
                self.topics[entity]["to come"] += sum(record.offset >= committed[part] for record in records)
        for part, offset in committed.items():
            self._gone(entity, part, place[part], min(offset, ends[part]))
            if offset > ends[part]:
                self._say(f"{part.topic}/{part.partition}", f"{offset} is committed, the topic ends at {ends[part]}")
        self._lost(entity, waits)

    def _waiting(self, entity: str) -> dict[str, int]:
        """Version by key of the records that wait and have been published."""
        marks = self._db.source_inventory.find({"unsent_from": {"$gte": 0}}, {"seq": 1, "unsent_from": 1})
        unsent = {} if entity in _COMPACTED else {row["seq"]: row["unsent_from"] for row in marks}
        waiting = self._db[entity].find(_WAITS, {"parent": 1, "seq": 1, "version": 1})
        sent = (doc for doc in waiting if doc["seq"] <= unsent.get(doc["parent"], doc["seq"]))
        return {doc["_id"]: doc["version"] for doc in sent}

    def _gone(self, entity: str, part: TopicPartition, start: int, end: int) -> None:
        if entity in _COMPACTED:
            self.topics[entity]["compacted"] += max(0, end - start)
        elif start < end:
            self._say(f"{part.topic}/{part.partition}", f"offsets {start} to {end - 1} are gone from the topic")

    def _settle(self, entity: str, part: TopicPartition, records: Sequence[Any]) -> None:
        """`parked` is read before `dead_letters` and the records: a record only ever moves that way."""
        read = {f"{part.topic}/{part.partition}/{record.offset}": _told(record) for record in records}
        places, keys = {"_id": {"$in": list(read)}}, [key for key, _ in read.values()]
        parked = {row["_id"] for row in self._db.parked.find(places, {"_id": 1})}
        dead = {row["_id"]: row["state"] for row in self._db.dead_letters.find(places, {"state": 1})}
        letters = self._db.dead_letters.find({"key": {"$in": keys}}, {"key": 1, "version": 1})
        again = {(row["key"], row["version"]) for row in letters}
        fields = {"version": 1, "imported_version": 1, "status": 1}
        there = {row["_id"]: row for row in self._db[entity].find({"_id": {"$in": keys}}, fields)}
        for place, (key, version) in read.items():
            side, letter = _end(there.get(key), version), place in dead or (key, version) in again
            side = "dead" if letter and side != "imported" else side
            self.topics[entity]["parked" if place in parked else side] += 1
            if place in parked and self._still and (side == "imported" or dead.get(place) == "dead"):
                self._say(place, f"{key} version {version} is parked, and has ended too")
            elif place not in parked and side == "nowhere":
                self._say(place, f"{key} version {version} is committed, and neither imported, parked nor dead")

    def _lost(self, entity: str, waits: dict[str, int]) -> None:
        """Records that nothing will ever bring, unless they have moved since."""
        for key, version in waits.items():
            waiting = self._db[entity].find_one({"_id": key, "version": version, **_WAITS})
            if waiting and not self._db.parked.find_one({"entity": entity, "key": key}):
                self._say(key, "waits, and is neither due, parked nor on its topic")


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
