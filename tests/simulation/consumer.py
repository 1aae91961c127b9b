"""FastStream's broker and aiokafka's consumer, as the runtime meets them, on the log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaConnectionError, KafkaError
from tests.simulation.log import Group
from tests.simulation.loop import Host

from chatferry.common.streaming.records import Partition, RawRecord

_BACKOFF_S = 0.5


def _away() -> Exception:
    away: Exception = KafkaConnectionError("the broker is away")
    return away


class SimulatedConsumer:
    """AIOKafkaConsumer. Its share comes from the group; a rebalance calls the listener as aiokafka does."""

    def __init__(self, host: Host, group: Group, listener: Any) -> None:
        # The refresh of metadata never dies here.
        self._client = SimpleNamespace(_sync_task=None)
        self.host, self._group, self._listener = host, group, listener
        self._members, self._name = 0, ""
        self._generation = -1
        self._assignment: set[Partition] | None = None
        self._fetching = False
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._rejoin, self._data = asyncio.Event(), asyncio.Event()
        self.closed = False
        self._coordination: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Of this membership; a member that was put out joins again under another one."""
        return self._name

    async def start(self) -> None:
        """Begin to take part in the group."""
        await self._ask("connect", lambda: None)
        self._coordination = asyncio.create_task(self._coordinate())

    async def stop(self) -> None:
        """Leave the group."""
        self.closed = True
        if self._coordination is not None:
            self._coordination.cancel()
            await asyncio.wait([self._coordination])
        try:
            await self._ask("leave", lambda: self._group.leave(self._name))
        except KafkaError:
            # The group finds out when the session ends.
            self._group.expire_after(6.0, self._name, lambda: True)

    def rejoin(self) -> None:
        """The group rebalances, or has put this member out."""
        self._rejoin.set()

    def wake(self) -> None:
        """There may be something to read."""
        self._data.set()

    async def _ask(self, what: str, effect: Callable[[], Any], refuse: Callable[[], Exception] = _away) -> Any:
        return await self._group.wire.ask(self.host, ("kafka", what), [effect], refuse)

    async def _ask_until_answered(
        self, what: str, effect: Callable[[], Any], refuse: Callable[[], Exception] = _away
    ) -> Any:
        """As aiokafka does with errors that may be tried again."""
        while True:
            try:
                return await self._ask(what, effect, refuse)
            except KafkaConnectionError:
                await asyncio.sleep(_BACKOFF_S)

    async def _coordinate(self) -> None:
        while True:
            self._fetching = False
            self._rejoin.clear()
            await self._listener.on_partitions_revoked(self._assignment or set())
            self._generation, self._assignment = await self._join()
            self._positions, self._paused = {}, set()
            await self._listener.on_partitions_assigned(set(self._assignment))
            await self._fetch_positions()
            self._fetching = True
            self._data.set()
            await self._rejoin.wait()

    async def _join(self) -> tuple[int, set[Partition]]:
        while True:
            if self._name not in self._group.members:
                self._members += 1
                self._name = f"{self.host.name}/{self._members}"
            answer = asyncio.get_running_loop().create_future()
            try:
                await self._ask("join", partial(self._group.join, self._name, self, answer))
            except KafkaConnectionError:
                answer.cancel()
                await asyncio.sleep(_BACKOFF_S)
                continue
            joined = await answer
            if joined is not None:
                generation, share = joined
                return generation, set(share)

    async def _fetch_positions(self) -> None:
        owned = sorted(self._assignment or ())
        log = self._group.log
        found = await self._ask_until_answered("positions", lambda: {p: log.committed.get(p, 0) for p in owned})
        for partition, offset in found.items():
            self._positions.setdefault(partition, offset)

    async def getmany(
        self, *partitions: Partition, timeout_ms: int, max_records: int
    ) -> dict[Partition, list[RawRecord]]:
        """What there is, at once; else what comes. Of these partitions, or of all."""
        while True:
            if self.closed:
                raise ConsumerStoppedError
            self._data.clear()
            found: dict[Partition, list[RawRecord]] = {}
            if self._fetching:
                found = await self._ask("poll", lambda: self._poll(partitions, max_records)) or {}
            if found or timeout_ms == 0:
                return found
            await self._data.wait()

    def _poll(self, wanted: Sequence[Partition], most: int) -> dict[Partition, list[RawRecord]]:
        found: dict[Partition, list[RawRecord]] = {}
        if not self._fetching:
            return found
        chance = self._group.chance
        ready = [p for p in sorted(self._positions) if p not in self._paused and (not wanted or p in wanted)]
        chance.shuffle(ready)
        room = chance.randint(1, most)
        for partition in ready:
            begin = self._positions[partition]
            taken = self._group.log.records[partition][begin : begin + room]
            if taken and room > 0:
                found[partition] = list(taken)
                self._positions[partition] = begin + len(taken)
                room -= len(taken)
        return found

    def _mine(self, partition: Any) -> Partition:
        if self._assignment is None or partition not in self._assignment:
            raise IllegalStateError(f"no partition of this consumer: {partition}")
        return Partition(*partition)

    def pause(self, partition: Any) -> None:
        """Read no more of it."""
        self._paused.add(self._mine(partition))

    def resume(self, partition: Any) -> None:
        """Read it again."""
        self._paused.discard(self._mine(partition))
        self._data.set()

    def seek(self, partition: Any, offset: int) -> None:
        """Go on from there."""
        self._positions[self._mine(partition)] = offset
        self._data.set()

    def assignment(self) -> set[Partition]:
        """What this consumer owns."""
        return set(self._assignment or ())

    async def commit(self, offsets: Mapping[Any, int]) -> None:
        """Raises CommitFailedError once the group has rebalanced without this member."""
        wanted = {self._mine(partition): offset for partition, offset in offsets.items()}
        name, generation = self._name, self._generation
        told = ", ".join(f"{p.topic}/{p.partition}={offset}" for p, offset in sorted(wanted.items()))
        refuse = _away if self._group.chance.random() < 0.5 else KafkaError
        try:
            await self._ask_until_answered(
                f"commit {told}", lambda: self._group.commit(name, generation, wanted), refuse
            )
        except KafkaError:
            if self._name not in self._group.members:
                self.rejoin()
            raise

    async def committed(self, partition: Any) -> int | None:
        """What the group has committed."""
        return await self._ask("committed", lambda: self._group.log.committed.get(Partition(*partition)))  # type: ignore[no-any-return]

    async def end_offsets(self, partitions: Sequence[Any]) -> dict[Any, int]:
        """Where these end."""
        records = self._group.log.records
        return await self._ask("end offsets", lambda: {p: len(records[Partition(*p)]) for p in partitions})  # type: ignore[no-any-return]


class SimulatedSubscriber:
    """A batch subscriber of FastStream: one loop that polls, and hands over what it got."""

    def __init__(self, max_records: int) -> None:
        self.consumer: SimulatedConsumer | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self._max_records = max_records
        self._handle: Callable[[Any], Awaitable[None]] | None = None

    def __call__(self, handle: Callable[[Any], Awaitable[None]]) -> None:
        self._handle = handle

    async def consume(self, consumer: SimulatedConsumer) -> None:
        """What FastStream's loop does; an error of the handler is logged and forgotten there."""
        assert self._handle is not None
        while True:
            try:
                polled = await consumer.getmany(timeout_ms=50, max_records=self._max_records)
            except KafkaError:
                await asyncio.sleep(5)
            except ConsumerStoppedError:
                return
            else:
                records = tuple(chain(*polled.values()))
                if records:
                    await self._hand_over(records)

    async def _hand_over(self, records: tuple[RawRecord, ...]) -> None:
        assert self._handle is not None
        # The runtime has noted whatever it was, and ends the process.
        with suppress(Exception):
            await self._handle(records)


class SimulatedBroker:
    """KafkaBroker with one subscriber, on one host."""

    def __init__(self, host: Host, group: Group) -> None:
        self._host, self._group = host, group

    def subscriber(self, *topics: str, **options: Any) -> SimulatedSubscriber:
        """As the runtime asks for it."""
        assert sorted(topics) == sorted(self._group.log.topics)
        self._listener = options["listener"]
        self._subscribed = SimulatedSubscriber(options["max_records"])
        return self._subscribed

    @property
    def consumer(self) -> SimulatedConsumer | None:
        """The consumer, once it is started."""
        return self._subscribed.consumer

    async def start(self) -> None:
        """Raises KafkaError while Kafka is away."""
        consumer = SimulatedConsumer(self._host, self._group, self._listener)
        self._subscribed.consumer = consumer
        await consumer.start()
        self._subscribed.tasks.append(asyncio.create_task(self._subscribed.consume(consumer)))

    async def stop(self) -> None:
        """End the loop, then leave the group."""
        for task in self._subscribed.tasks:
            task.cancel()
        await asyncio.gather(*self._subscribed.tasks, return_exceptions=True)
        self._subscribed.tasks.clear()
        consumer = self._subscribed.consumer
        if consumer is not None:
            await consumer.stop()
            self._subscribed.consumer = None
