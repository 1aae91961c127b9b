"""Kafka in memory: a log with offsets, and a group with generations, as a consumer of aiokafka meets them.

A commit of an old generation is refused. A rebalance waits until all members that it knows have let go; one that was
killed or stands still is a member until its session has ended.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.errors import CommitFailedError
from tests.simulation.loop import Loop
from tests.simulation.wire import Refusal, Wire

from chatferry.common.streaming.records import Partition, StoredRecord

if TYPE_CHECKING:
    from tests.simulation.consumer import SimulatedConsumer

PARTITIONS = 2
SESSION_S = 6.0


@dataclass
class Log:
    """Topics of two partitions each, and what the group has committed. `on_commit` sees each accepted commit."""

    topics: Sequence[str]
    on_commit: Callable[[Mapping[Partition, int]], None]
    records: dict[Partition, list[StoredRecord]] = field(default_factory=dict)
    committed: dict[Partition, int] = field(default_factory=dict)
    furthest: dict[Partition, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for topic in self.topics:
            for number in range(PARTITIONS):
                self.records[Partition(topic, number)] = []

    def append(self, topic: str, line: int, value: bytes | None, headers: Any) -> StoredRecord:
        """Records of one line are in one partition."""
        partition = Partition(topic, line % PARTITIONS)
        found = self.records[partition]
        found.append(StoredRecord(*partition, len(found), 0, b"%d" % line, value, tuple(headers)))
        return found[-1]

    def all_committed(self) -> bool:
        """Whether nothing is left to read. A commit that came late may have taken the group back: it is read again."""
        return all(self.furthest.get(p, 0) == len(found) for p, found in self.records.items())

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """The group stands here now."""
        self.on_commit(offsets)
        self.committed.update(offsets)
        for partition, offset in offsets.items():
            self.furthest[partition] = max(offset, self.furthest.get(partition, 0))


@dataclass(eq=False)
class Group:
    """The coordinator of the one group."""

    log: Log
    wire: Wire
    chance: random.Random
    drain_s: float
    generation: int = 0
    members: dict[str, SimulatedConsumer] = field(default_factory=dict)
    _joined: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    _too_late: asyncio.TimerHandle | None = None

    @property
    def loop(self) -> Loop:
        """Whose time counts."""
        return self.wire.loop

    @property
    def quiet(self) -> bool:
        """No rebalance is under way."""
        return not self._joined

    def join(self, name: str, consumer: SimulatedConsumer, answer: asyncio.Future[Any]) -> None:
        """The member waits for its share; `answer` gets generation and partitions. One that gave up is not heard."""
        if answer.done():
            return
        self.members[name] = consumer
        if consumer.closed or not consumer.host.alive:
            self.expire_after(SESSION_S, name, lambda: True)
        begins = not self._joined
        self._joined[name] = answer
        if begins:
            self._rebalance()
        self._complete_if_all()

    def leave(self, name: str) -> None:
        """The member went, or its session ended."""
        consumer = self.members.pop(name, None)
        if consumer is None:
            return
        begins = not self._joined
        answer = self._joined.pop(name, None)
        if answer is not None and consumer.host.alive and not answer.done():
            with self.loop.on(consumer.host):
                answer.set_result(None)
        if begins and self.members:
            self._rebalance()
        self._complete_if_all()

    def expire_after(self, seconds: float, name: str, if_still: Callable[[], bool]) -> None:
        """No heartbeat comes any more, as long as `if_still`."""

        def expire() -> None:
            if if_still():
                self.leave(name)

        with self.loop.on(self.loop.outside):
            self.loop.call_later(seconds, expire)

    def commit(self, name: str, generation: int, offsets: Mapping[Partition, int]) -> None:
        """Refused for a member that is none any more, or was one before the last rebalance."""
        if name not in self.members or generation != self.generation:
            raise Refusal(CommitFailedError("the group has rebalanced"))
        self.log.commit(offsets)

    def _rebalance(self) -> None:
        for name, consumer in self.members.items():
            if name not in self._joined:
                self.wire.tell(consumer.host, "heartbeat: rejoin", consumer.rejoin)
        if self._too_late is not None:
            # One that a leaving member began has nobody who joined yet: this is the same one.
            self._too_late.cancel()
        with self.loop.on(self.loop.outside):
            self._too_late = self.loop.call_later(self.drain_s + 20.0, self._put_out_the_late)

    def _put_out_the_late(self) -> None:
        for name in [name for name in self.members if name not in self._joined]:
            del self.members[name]
        self._complete_if_all()

    def _complete_if_all(self) -> None:
        if not self._joined or any(name not in self._joined for name in self.members):
            return
        self.generation += 1
        if self._too_late is not None:
            self._too_late.cancel()
        joined, self._joined = self._joined, {}
        names = sorted(self.members)
        for index, name in enumerate(names):
            mine = [number for number in range(PARTITIONS) if number * len(names) // PARTITIONS == index]
            if len(names) > PARTITIONS:
                mine = [index] if index < PARTITIONS else []
            share = {Partition(topic, number) for topic in self.log.topics for number in mine}
            host, answer = self.members[name].host, joined[name]
            if host.alive and not answer.done():
                with self.loop.on(host):
                    answer.set_result((self.generation, share))
