"""A topic log, a group's offsets and an importer over fakes: crash it, start it again, look at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.unit.importer.fakes import (
    CrashError,
    FakeClock,
    FakeDeadLetters,
    FakeEvents,
    FakeFamilies,
    FakeIds,
    FakeParked,
    FakeRecords,
    FakeSilence,
    FakeStore,
    FakeTarget,
    Faults,
)

from chatferry.common.contracts.canonical import canonical_json
from chatferry.common.contracts.envelope import REPLAY_OF, common_headers, record_headers
from chatferry.common.entities import ENTITIES
from chatferry.common.errors import OutageError
from chatferry.common.streaming.progress import Progress
from chatferry.common.streaming.records import Partition, StoredRecord
from chatferry.common.telemetry.metrics import Metrics
from chatferry.importer.adapters.considerate import ConsiderateTarget
from chatferry.importer.caller import Caller, CallRules
from chatferry.importer.flow import Importer, Views
from chatferry.importer.gate import Gate
from chatferry.importer.limit import DeadLimit
from chatferry.importer.lines import Lines
from chatferry.importer.sending import Sender, SendRules, Surroundings
from chatferry.importer.settle import Books

TOPICS = {f"p.{name}": entity for name, entity in ENTITIES.items()}
COMMON = common_headers("/chatferry/p/portal", datetime(2026, 1, 1, tzinfo=UTC), None)


def chat(number: int, title: str = "c") -> dict[str, Any]:
    nothing = dict.fromkeys(("description", "owner_id", "created_at", "entity_type", "entity_id"))
    return {"id": number, "type": "group", "title": title, "manager_ids": [], "participant_ids": [], **nothing}


def message(number: int, chat_id: int, text: str = "t") -> dict[str, Any]:
    moment = {
        "source_original": "2026-01-01T00:00:00+00:00",
        "utc": "2026-01-01T00:00:00Z",
        "original_offset": "+00:00",
    }
    flags = dict.fromkeys(("system", "deleted", "edited"), False)
    nothing = dict.fromkeys(("author_id", "reply_to", "forwarded_from"))
    lists: dict[str, list[Any]] = {"files": [], "reactions": []}
    return {"id": number, "chat_id": chat_id, "text": text, "sent_at": moment, **flags, **nothing, **lists}


class FakeRuntime:
    """What a worker asks of it; `fresh` records wait, or partitions are given back, when a test says so."""

    def __init__(self) -> None:
        self.held: Collection[str] = ()
        self.fresh = self.giving_back = False

    def hold(self, topics: Collection[str]) -> None:
        self.held = topics

    def leaving(self) -> bool:
        return self.giving_back

    def fresh_waits(self) -> bool:
        return self.fresh


class Machine:
    """`publish`, then `run` until nothing moves; the log and the offsets outlive crashes."""

    def __init__(self, rules: SendRules | None = None, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.store = FakeStore(self.faults)
        self.target = FakeTarget(self.faults)
        self.clock = FakeClock()
        self.rules = rules or SendRules(lanes=2, batch_items={"chats": 2, "chat_messages": 3})
        self.logs: dict[Partition, list[StoredRecord]] = defaultdict(list)
        self.committed: dict[Partition, int] = defaultdict(int)
        self.outages: list[OutageError] = []
        self.at_once = 7
        self.written_at_ms = 0
        self.stopping: Callable[[], bool] = lambda: False

    def append(self, entity: str, line: int, value: bytes | None, headers: Any) -> StoredRecord:
        partition = Partition(f"p.{entity}", line % 2)
        log = self.logs[partition]
        log.append(StoredRecord(*partition, len(log), self.written_at_ms, b"%d" % line, value, tuple(headers)))
        return log[-1]

    def publish(
        self, entity: str, payload: Mapping[str, Any], version: int = 1, replay_of: str | None = None
    ) -> StoredRecord:
        declared = ENTITIES[entity]
        key = declared.key(payload["id"])
        if replay_of is None:
            self.store.add(key, version)
        line = declared.parent_of(payload) if declared.parent_of else payload["id"]
        headers = record_headers(key, version, declared.event_type, common=COMMON)
        if replay_of is not None:
            headers = (*headers, (REPLAY_OF, replay_of.encode()))
        return self.append(entity, line, canonical_json(payload), headers)

    def publish_chat(self, chat_id: int, messages: int) -> None:
        """A chat, and so many messages of it: 100 and its id, 200 and its id, and so on."""
        self.publish("chats", chat(chat_id))
        for index in range(1, messages + 1):
            self.publish("chat_messages", message(index * 100 + chat_id, chat_id))

    def make_topics_anew(self) -> None:
        """As after a loss of all that Kafka had: empty, and no offset of the group is kept."""
        for partition, log in self.logs.items():
            log.clear()
            self.committed[partition] = 0
        self.written_at_ms += 60_000

    def start(self) -> None:
        """A new process."""
        self.faults.dead = self._away = False
        self.metrics = Metrics()
        records, parked, dead = FakeRecords(self.store), FakeParked(self.store), FakeDeadLetters(self.store)
        target = ConsiderateTarget(self.target, FakeSilence(self.clock), self.clock)
        self.caller = Caller(target, FakeFamilies(self.store), self.clock, self.metrics, CallRules())
        self.lines = Lines(self.rules.longest_delay_s())
        gate = Gate(records, dead, may_pass_dead=self.rules.may_pass_dead)
        limit = DeadLimit(FakeFamilies(self.store), self.rules.dead)
        books = Books(records, records, FakeIds(self.store), parked, dead, FakeEvents(self.store), self.metrics, limit)
        self.books = books
        around = Surroundings(self.clock, lambda: 0.5, self._stops)
        sender = Sender(self.caller, self.lines, self.rules, around)
        self.importer = Importer("p", TOPICS, Views(records, parked, dead, dead), books, (sender, gate, self.lines))

    def _stops(self) -> bool:
        return self.stopping()

    async def run(self, steps: int = 40) -> int:
        """Deliver and drain until `steps` are over; a crash starts a new process. Returns how many crashed."""
        self.start()
        await self._take_over()
        return await self.go_on(steps)

    async def go_on(self, steps: int) -> int:
        """The same with the process that there is."""
        crashes = 0
        for _ in range(steps):
            try:
                await self._step()
            except CrashError:
                crashes += 1
                self.start()
                await self._take_over()
            self.clock.seconds += 1.0
        return crashes

    async def _take_over(self) -> None:
        try:
            await self.importer.take_over({p: self.committed[p] for p in self.logs})
        except CrashError:
            self.start()
            await self.importer.take_over({p: self.committed[p] for p in self.logs})

    async def _step(self) -> None:
        if self._away and not await self._is_back():
            return
        records = [r for p, log in self.logs.items() for r in log[self.committed[p] : self.committed[p] + self.at_once]]
        try:
            if records:
                progress = Progress(records)
                try:
                    await self.importer.deliver(records, progress)
                finally:
                    if not self.faults.dead:
                        self.committed.update(progress.committable())
            await self.importer.drain(self.clock, frozenset(TOPICS))
        except OutageError as away:
            self.outages.append(away)
            self._away = True

    async def _is_back(self) -> bool:
        """As the runtime does it: nothing is delivered before the part that was away has answered."""
        try:
            await self.caller.recheck()
        except OutageError as still:
            self.outages.append(still)
        else:
            self._away = False
        return not self._away

    def outcome(self) -> dict[str, Any]:
        """What must be equal to an undisturbed run."""
        return {
            "target": self.target.stored,
            "statuses": {key: (d["status"], d.get("imported_version")) for key, d in self.store.documents.items()},
            "ids": self.store.ids,
            "parked": sorted(self.store.parked),
            "dead": {place: (row["state"], row["copied"]) for place, row in self.store.dead.items()},
            "results": sorted({result[:3] for result in self.store.results}),
            "committed": {p: self.committed[p] for p in self.logs},
            "copies": sorted({(c.raw.topic, c.raw.partition, c.raw.offset) for c in self.store.copies}),
        }

    def applied(self, chat_id: int) -> list[int]:
        """Messages of a chat as the target took them; their ids end with the chat's."""
        numbers = [int(key.rpartition(":")[2]) for key, _ in self.target.order if "msg" in key]
        return [number for number in numbers if number % 100 == chat_id]
