"""Conservation: what has no business on the topics ends as dead letters, byte for byte; all that is real arrives."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from tests.chaos.frame import Chaos, Passed, Site, chaos_project, slowed
from tests.chaos.fuzz import KINDS, Fuzzed, Fuzzer, Maker
from tests.chaos.in_turn import header, read_topic
from tests.chaos.letters import by_state, prove_at_last
from tests.chaos.proof import assert_ledger_agrees, command
from tools.check_ledger import Check
from tools.ledger_offsets import Offsets
from tools.ledger_portal import Portal

from chatferry.common.adapters.raw_form import read_raw
from chatferry.operator.runs import Options

NAME = "conservation"
ENTITIES = ("users", "chats", "chat_messages")
_END_S = 300.0
_AMONG = 0.3
_RECORDS = ("done", "skipped", "dead", "waiting")
_DELIVERIES = ("imported", "superseded", "skipped", "parked", "dead", "compacted")
_ADDED = ("topic", "partition", "offset", "timestamp", "attempts", "error-class", "code", "message")
# More may die here than a healthy family ever has.
_NO_LIMIT = {"CHATFERRY_DEAD_SHARE_MAX": "1", "CHATFERRY_DEAD_CONSECUTIVE_MAX": "1000000"}


@dataclass(frozen=True, slots=True)
class Scale:
    """`fuzzed`: records that are nobody's, in bursts; after each `checkpoint` bursts the ledger is asked."""

    messages: int
    chats: int
    page: int
    max_rate: float
    fuzzed: int
    burst: int
    checkpoint: int
    large: int


SHORT = Scale(messages=600, chats=15, page=20, max_rate=1.5, fuzzed=1_000, burst=100, checkpoint=4, large=4)
LONG = Scale(messages=30_000, chats=300, page=50, max_rate=2.0, fuzzed=30_000, burst=150, checkpoint=20, large=60)


@dataclass(slots=True)
class Fuzzing:
    """`sent`: by place, what was put there. `waiting`: records that were on their way at a checkpoint, at most."""

    chaos: Chaos
    scale: Scale
    sent: dict[str, Fuzzed] = field(default_factory=dict)
    checkpoints: int = 0
    waiting: int = 0

    async def until_the_end(self, run: str) -> None:
        """Bursts between the real records of the run, with a checkpoint now and then."""
        chaos, scale = self.chaos, self.scale
        async with Fuzzer(chaos.project.kafka, chaos.project.name) as fuzzer:
            large = scale.large
            for burst in range(1, 1 + scale.fuzzed // scale.burst):
                maker = Maker(chaos.random, chaos.project.name, self._lines())
                drawn = [maker.draw(chaos.random.choice(ENTITIES)) for _ in range(scale.burst)]
                if large:
                    large -= 1
                    entity = ENTITIES[large % len(ENTITIES)]
                    drawn.append(maker.pressed(entity) if large % 2 else maker.largest(entity))
                self.sent |= await fuzzer.send(drawn)
                await asyncio.to_thread(self._real_ones_come, run)
                if burst % scale.checkpoint == 0:
                    await asyncio.to_thread(self.checkpoint)
            assert large == 0, "there were too few bursts for the large ones"

    def _real_ones_come(self, run: str) -> None:
        """Before the next burst, as long as there are any to come."""
        before = self.chaos.imported()
        self.chaos.until(lambda: self.chaos.imported() > before or not self.chaos.under_way(run), "more arrive", 60)

    def _lines(self) -> dict[str, list[int]]:
        """Ids that real records have by now."""
        database = self.chaos.database
        lines = {name: list(database[name].distinct("seq")) for name in ("users", "chats")}
        return {**lines, "chat_messages": lines["chats"]}

    def checkpoint(self) -> None:
        """Read = done + skipped + dead + waiting, of records and of deliveries alike; all that is fuzzed is dead."""
        chaos = self.chaos
        state = json.loads(command(chaos, "status", "--json").stdout)
        check = Check(state, Portal(None, chaos.control.url))
        offsets = Offsets(check.db, state, check.still, check.say)
        with check.client, check.http:
            asyncio.run(offsets.read())
            check.everything()
        assert check.found == []
        for entity in ENTITIES:
            _assert_balanced(f"records of {entity}", check.accounts[entity], check.accounts[entity]["read"], _RECORDS)
            topic = f"{chaos.project.name}.{entity}"
            finished = sum(count for part, count in offsets.committed.items() if part.topic == topic)
            _assert_balanced(f"deliveries of {entity}", offsets.topics[entity], finished, _DELIVERIES)
        below = {f"{part.topic}/{part.partition}": count for part, count in offsets.committed.items()}
        self._all_fuzzed_are_dead(below)
        self.waiting = max(self.waiting, sum(sides["waiting"] for sides in check.accounts.values()))
        self.checkpoints += 1

    def _all_fuzzed_are_dead(self, committed: Mapping[str, int]) -> None:
        """Those that an importer has finished with."""
        below = [place for place in self.sent if _offset(place) < committed.get(place.rpartition("/")[0], 0)]
        rows = self.chaos.database.dead_letters.find({"_id": {"$in": below}}, {"_id": 1})
        dead = {row["_id"] for row in rows}
        assert set(below) == dead, f"committed, and no dead letters: {sorted(set(below) - dead)[:5]}"


def _assert_balanced(what: str, sides: Mapping[str, int], read: int, ends: Sequence[str]) -> None:
    """Each of what was read has one of these ends; a skipped record has its reason beside the word."""
    told = {side: count for side, count in sides.items() if side.partition(" ")[0] in ends and count}
    assert sum(told.values()) == read, f"{what}: {read} read, but {told}"


def disturb(root: Path, seed: int, scale: Scale) -> Passed:
    """Raises AssertionError with what was lost, doubled, or differs in a byte."""
    settings = {**slowed(scale.page), **_NO_LIMIT}
    site = Site("fuzz", seed, scale.chats, scale.messages, users=40, settings=settings)
    with chaos_project(root, site) as chaos:
        began = time.monotonic()
        run = chaos.in_mid_run(Options(max_rate=scale.max_rate))
        fuzzing = Fuzzing(chaos, scale)
        asyncio.run(fuzzing.until_the_end(run))
        assert chaos.finish(run, _END_S)["state"] != "verified", "verified with dead letters"
        chaos.until(lambda: _all_read(chaos), "all that was sent is read", 60)
        fuzzing.checkpoint()
        kept = _assert_letters(chaos, fuzzing.sent)
        between = _between(chaos, fuzzing.sent)
        assert_ledger_agrees(chaos)
        command(chaos, "dlq", "discard", "--all", "--reason", "nobody's records", "--by", "chaos")
        assert by_state(chaos) == {"discarded": len(fuzzing.sent)}
        messages = prove_at_last(chaos, _END_S)
        seconds = time.monotonic() - began
    assert between >= messages * _AMONG, f"only {between} real records were among the fuzzed ones"
    assert {one.kind for one in fuzzing.sent.values()} >= {*KINDS, "largest", "pressed"}
    figures = {
        "fuzzed": len(fuzzing.sent),
        "kinds": len(KINDS) + 2,
        "real-between-them": between,
        "kept-in-their-row": kept,
        "messages": messages,
        "checkpoints": fuzzing.checkpoints,
        "waiting-at-most": fuzzing.waiting,
        "seconds": f"{seconds:.0f}",
    }
    return Passed(NAME, seed, figures)


def _assert_letters(chaos: Chaos, sent: Mapping[str, Fuzzed]) -> int:
    """One dead letter for each, with its class and the bytes as they were; how many have them in their row alone."""
    rows = {row["_id"]: row for row in chaos.database.dead_letters.find()}
    assert rows.keys() == sent.keys(), f"{len(rows)} dead letters for {len(sent)} fuzzed records"
    ends = {place: one.ends for place, one in sent.items() if one.ends != rows[place]["error_class"]}
    assert ends == {}, f"expected otherwise: {[(p, sent[p].kind, rows[p]['error_class']) for p in ends][:10]}"
    copies = Counter[str]()
    for record in read_topic(chaos.project.kafka, f"{chaos.project.name}.dlq"):
        place = "/".join(header(record, f"dlq-{name}").decode() for name in _ADDED[:3])
        copies[place] += 1
        _assert_copy(record, sent[place], rows[place])
    assert set(copies.values()) <= {1}, f"copied twice: {[place for place, n in copies.items() if n > 1][:5]}"
    for place in sent.keys() - copies.keys():
        one, raw = sent[place], read_raw(rows[place]["raw"])
        assert one.pressed, f"{one.kind} {place} is not on `dlq`"
        assert (raw.key, raw.value, raw.headers) == (one.key, one.value, one.headers), place
    return len(sent) - len(copies)


def _assert_copy(record: Any, one: Fuzzed, row: Mapping[str, Any]) -> None:
    place = row["_id"]
    assert (record.key, record.value) == (one.key, one.value), f"{one.kind} {place}"
    own, added = record.headers[: -len(_ADDED)], record.headers[-len(_ADDED) :]
    assert tuple(own) == one.headers, f"{one.kind} {place}"
    told = {name.removeprefix("dlq-"): (value or b"").decode() for name, value in added}
    names = {"error-class": "error_class"}
    assert tuple(told) == _ADDED, place
    assert told == {name: str(row[names.get(name, name)]) for name in _ADDED}, place


def _between(chaos: Chaos, sent: Mapping[str, Fuzzed]) -> int:
    """Real records that have fuzzed ones before and behind them in their partition."""
    count = 0
    for entity in ENTITIES:
        topic = f"{chaos.project.name}.{entity}"
        offsets: dict[str, list[int]] = {}
        for place in sent:
            offsets.setdefault(place.rpartition("/")[0], []).append(_offset(place))
        for record in read_topic(chaos.project.kafka, topic):
            mine = offsets.get(f"{topic}/{record.partition}", [])
            count += bool(mine) and min(mine) < record.offset < max(mine) and record.offset not in mine
    return count


def _all_read(chaos: Chaos) -> bool:
    return asyncio.run(_left(chaos)) == 0


async def _committed(chaos: Chaos) -> dict[str, int]:
    """Committed offsets of the importers by topic/partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=chaos.project.kafka)
    await admin.start()
    try:
        group = await admin.list_consumer_group_offsets(f"{chaos.project.name}.importer")
    finally:
        await admin.close()
    return {f"{part.topic}/{part.partition}": told.offset for part, told in group.items()}


async def _left(chaos: Chaos) -> int:
    """Records that no importer has finished with."""
    committed = await _committed(chaos)
    consumer = AIOKafkaConsumer(bootstrap_servers=chaos.project.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        parts = [TopicPartition(*_split(where)) for where in committed]
        ends = await consumer.end_offsets(parts)
    finally:
        await consumer.stop()
    return sum(end - committed[f"{part.topic}/{part.partition}"] for part, end in ends.items())


def _split(where: str) -> tuple[str, int]:
    topic, _, number = where.partition("/")
    return topic, int(number)


def _offset(place: str) -> int:
    return int(place.rpartition("/")[2])
