"""What a consume loop asks of Kafka: bounded in bytes, and watched, so that a loop which reads no more is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from chatferry.common.clock import Clock
from chatferry.common.errors import OutageError
from chatferry.common.streaming.batches import UNREADABLE
from chatferry.common.streaming.records import Partition, RawRecord
from chatferry.common.telemetry.logs import get_logger

GetMany = Callable[..., Awaitable[dict[Partition, list[RawRecord]]]]
log = get_logger(__name__)
# One poll is taken in slices: none of them knows how large its records are before it has them.
_SLICE = 50
_SILENT_S, _UNASSIGNED_S, _UNREADABLE_S = 30.0, 120.0, 30.0
# Asking again at once would be in vain.
_UNREADABLE_PAUSE_S = 0.5
_ASK_EVERY_S, _ANSWER_S = 10.0, 5.0
_AWAY = "Kafka does not answer; work goes on when it does"
_UNTOLD = "Kafka does not say where this group stands; asked again"


class Polling:
    """Of one consumer, whose `getmany` it takes over. `longest_work_s`: after that, work in hand counts as hung.

    `topics`: what has been fetched of an earlier one is handed over first. `failures`: what the consumer raises when
    Kafka, or it, is away.
    """

    def __init__(
        self,
        clock: Clock,
        topics: Sequence[str],
        failures: tuple[type[Exception], ...],
        *,
        most_bytes: int,
        longest_work_s: float,
    ) -> None:
        self._topics = tuple(topics)
        self._clock, self._failures = clock, failures
        self._unanswered: tuple[type[Exception], ...] = (*failures, TimeoutError)
        self._most_bytes, self._longest_work_s = most_bytes, longest_work_s
        self._polled = self._unassigned_since = clock.monotonic()
        self._busy_since: float | None = None
        self._assigned = False
        self._consumer: Any = None
        self._asked = 0.0
        self._polls = 0
        # When each was handed over last, in polls.
        self._served: dict[Partition, int] = {}
        # Since when, and by which error.
        self._unreadable: dict[Partition, tuple[float, str]] = {}

    def take_over(self, consumer: Any) -> None:
        """From now on a poll of this AIOKafkaConsumer ends once it holds enough bytes, and is noticed."""
        self._polled = self._unassigned_since = self._asked = self._clock.monotonic()
        self._consumer = consumer
        getmany, clock = consumer.getmany, self._clock

        async def bounded(*, timeout_ms: int, max_records: int) -> dict[Partition, list[RawRecord]]:
            polled: dict[Partition, list[RawRecord]] = {}
            await self._add_fetched(polled, getmany, max_records)
            if not polled:
                try:
                    # One, of whichever partition: where another cannot be read, what aiokafka has taken for the same
                    # answer is lost.
                    polled = await getmany(timeout_ms=timeout_ms, max_records=1)
                except UNREADABLE:
                    # Which it is the next poll finds out; for the health check this was none.
                    await clock.sleep(_UNREADABLE_PAUSE_S)
                    return {}
                if polled:
                    await self._add_fetched(polled, getmany, max_records)
            self._polled = self._clock.monotonic()
            return polled

        consumer.getmany = bounded

    async def _add_fetched(self, polled: dict[Partition, list[RawRecord]], getmany: GetMany, max_records: int) -> None:
        """What the consumer has fetched already, topic by topic (aiokafka alone would go by partitions as they came),
        and of a topic what was served longest ago; each partition by itself, so that none is lost with another."""
        self._polls += 1
        count, size = _measure(polled)
        failures: list[Exception] = []
        for partition in self._in_turn():
            full = True
            while full and count < max_records and size < self._most_bytes:
                room = min(_SLICE, max_records - count)
                try:
                    more = (await getmany(partition, timeout_ms=0, max_records=room)).get(partition, [])
                except UNREADABLE as failure:
                    # The next poll meets it again, at the record at which this one did.
                    self._note(partition, type(failure).__name__)
                    break
                except self._failures as failure:
                    failures.append(failure)
                    break
                if more:
                    polled.setdefault(partition, []).extend(more)
                    self._served[partition] = self._polls
                    self._unreadable.pop(partition, None)
                count, size, full = count + len(more), size + _size(more), len(more) == room
        if failures and not polled:
            raise failures[0]

    def _in_turn(self) -> list[Partition]:
        owned = sorted(one for one in self._consumer.assignment() if one.topic in self._topics)
        return sorted(owned, key=lambda one: (self._topics.index(one.topic), self._served.get(one, 0)))

    def _note(self, partition: Partition, error: str) -> None:
        if partition not in self._unreadable:
            self._unreadable[partition] = self._clock.monotonic(), error
            log.error("records.unreadable", topic=partition.topic, partition=partition.partition, error=error)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Nothing is polled while work is in hand: that time is no silence."""
        begun = self._busy_since = self._clock.monotonic()
        try:
            yield
        finally:
            self._busy_since = None
            self._polled += self._clock.monotonic() - begun

    def assigned(self, *, now: bool) -> None:
        """Partitions were given (none of them is an answer too), or taken away to be shared anew."""
        self._assigned = now
        self._unassigned_since = self._clock.monotonic()

    def revive(self) -> None:
        """Begin aiokafka's refresh of the cluster's metadata again where an error of another kind than it expects ended
        it (a write to a connection that has just died): a client without it waits for a coordinator for ever."""
        client = self._consumer._client
        refresh = client._sync_task
        if refresh is not None and refresh.done() and not refresh.cancelled():
            log.warning("metadata.refresh_died", error=type(refresh.exception()).__name__)
            client._sync_task = asyncio.create_task(client._md_synchronizer())

    async def ask(self, *, at_once: bool = False) -> None:
        """Now and then, or `at_once`: is Kafka there? A poll of a broker that is away answers nothing, raises nothing.

        Raises OutageError.
        """
        now = self._clock.monotonic()
        owned = self._consumer.assignment()
        if not owned or not (at_once or now - self._asked >= _ASK_EVERY_S):
            return
        self._asked = now
        await self._ends([min(owned)])

    async def _ends(self, partitions: Sequence[Any]) -> Mapping[Any, int]:
        if not partitions:
            return {}
        try:
            async with asyncio.timeout(_ANSWER_S):
                ends: Mapping[Any, int] = await self._consumer.end_offsets(partitions)
        except self._unanswered as failure:
            raise OutageError("kafka", _AWAY) from failure
        return ends

    async def commit(self, offsets: Mapping[Any, int]) -> None:
        """Raises OutageError after a while: aiokafka alone tries until its coordinator is back, and nobody hears of it.

        What is finished may then be committed later all the same.
        """
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._consumer.commit(offsets)
        except TimeoutError as late:
            raise OutageError("kafka", _AWAY) from late

    async def standing(self, partitions: Sequence[Any]) -> dict[Partition, int]:
        """Where the group stands in each, 0 at the beginning. Raises OutageError.

        0 too where the log ends before: it has lost its end, and whatever is written there since is new.
        """
        stood = {Partition(*partition): await self.committed(partition) for partition in partitions}
        ends = {Partition(*partition): end for partition, end in (await self._ends(partitions)).items()}
        gone = {partition: offset for partition, offset in stood.items() if offset > ends[partition]}
        say_went_back(gone)
        return {**stood, **dict.fromkeys(gone, 0)}

    async def committed(self, partition: Any) -> int:
        """Where the group stands, 0 at the beginning. Raises OutageError, where aiokafka alone asks for ever."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await self._consumer.committed(partition) or 0
        except self._unanswered as failure:
            raise OutageError("kafka", _UNTOLD) from failure

    def wrong(self) -> str | None:
        """What keeps the loop from reading, though Kafka is there; None when nothing does."""
        now = self._clock.monotonic()
        if self._busy_since is not None:
            hung = now - self._busy_since > self._longest_work_s
            return f"one piece of work takes longer than {self._longest_work_s:g} s" if hung else None
        if (unread := self._unread(now)) is not None:
            return unread
        if now - self._polled > _SILENT_S:
            return f"nothing was read from Kafka for more than {_SILENT_S:g} s"
        if not self._assigned and now - self._unassigned_since > _UNASSIGNED_S:
            return f"the group has given no partitions for more than {_UNASSIGNED_S:g} s"
        return None

    def _unread(self, now: float) -> str | None:
        if not self._unreadable:
            return None
        owned = self._consumer.assignment()
        self._unreadable = {one: what for one, what in self._unreadable.items() if one in owned}
        for partition, (since, error) in sorted(self._unreadable.items()):
            if now - since > _UNREADABLE_S:
                where = f"partition {partition.partition} of {partition.topic}"
                return f"what Kafka has at the group's place in {where} cannot be read ({error})"
        return None


def say_went_back(stood: Mapping[Partition, int]) -> None:
    """By partition, where the group stood: aiokafka begins at the earliest record there is, without a word."""
    for partition, offset in sorted(stood.items()):
        log.error("topic.went_back", topic=partition.topic, partition=partition.partition, committed=offset)


def _measure(polled: dict[Partition, list[RawRecord]]) -> tuple[int, int]:
    """Records and bytes of their bodies."""
    return sum(map(len, polled.values())), sum(map(_size, polled.values()))


def _size(records: Sequence[RawRecord]) -> int:
    return sum(len(record.value) for record in records if record.value is not None)
