"""One group consumer of several topics, on FastStream. The only module that touches FastStream's inside.

What it adds (design: runtime.md §1): records are handed over raw, so that a broken one cannot take its batch along;
only finished offsets are committed, by partition; an outage pauses the assignment and keeps the membership; a
revocation waits for the work in hand, with a deadline; idle work runs between polls, never beside them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage

from chatferry.common.cancelling import first_of
from chatferry.common.clock import Clock
from chatferry.common.errors import OutageError
from chatferry.common.health import Health
from chatferry.common.streaming.batches import mend_batches
from chatferry.common.streaming.outages import Outages
from chatferry.common.streaming.polling import Polling, say_went_back
from chatferry.common.streaming.progress import Offsets, Progress
from chatferry.common.streaming.records import Partition, RawRecord
from chatferry.common.streaming.worker import ConsumerSettings, RecordWorker
from chatferry.common.telemetry.logs import get_logger

__all__ = ["ConsumerSettings", "RecordConsumer", "RecordWorker", "open_broker"]
log = get_logger(__name__)
_FIRST_PROBE_S, _LONGEST_PROBE_S, _PAUSE_S = 0.5, 2.0, 60.0
_COMMIT_EVERY_S = 0.2  # each is a round trip that nothing overlaps; idle work commits what is left


def open_broker(bootstrap: str, *, client_id: str) -> KafkaBroker:
    """FastStream's broker as this module wants it: only consumers, nothing created, no log of its own."""
    mend_batches()
    return KafkaBroker(
        bootstrap,
        client_id=client_id,
        consumer_only=True,
        allow_auto_create_topics=False,
        apply_types=False,
        graceful_timeout=1.0,
        logger=None,
        metadata_max_age_ms=30_000,
    )


class RecordConsumer:
    """Runs a RecordWorker. `hold` keeps topics unread for as long as nobody wants them."""

    def __init__(
        self, broker: KafkaBroker, settings: ConsumerSettings, worker: RecordWorker, clock: Clock, health: Health
    ) -> None:
        self._broker, self._settings, self._worker, self._clock = broker, settings, worker, clock
        self._working, self._failed = asyncio.Lock(), asyncio.Event()
        self._stopping = self._running = False
        self._revoking = self._overdue = self._fresh_waits = False
        self._owned: set[Partition] = set()
        self._told, self._committed_at = True, float("-inf")
        self._held, self._offsets = frozenset[str](), Offsets()
        self._outages = Outages(health, self._apply_pauses)
        longest_s, failures = settings.max_poll_interval_ms / 1_000, (KafkaError, ConsumerStoppedError)
        self._polling = Polling(
            clock, settings.topics, failures, most_bytes=settings.max_bytes, longest_work_s=longest_s
        )
        self._failure: BaseException | None = None
        self._idle_task: asyncio.Task[None] | None = None
        self._subscriber = broker.subscriber(
            *settings.topics,
            batch=True,
            group_id=settings.group,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            partition_assignment_strategy=[RangePartitionAssignor],
            max_records=settings.max_records,
            batch_timeout_ms=settings.poll_ms,
            session_timeout_ms=settings.session_timeout_ms,
            max_poll_interval_ms=settings.max_poll_interval_ms,
            rebalance_timeout_ms=int(settings.drain_s * 1_000) + 20_000,
            max_partition_fetch_bytes=settings.max_partition_bytes,
            listener=_Listener(self),
            parser=self._parse,
            decoder=_decode,
            no_reply=True,
        )
        self._subscriber(self._on_batch)
        health.alive_when("consumer", self._dead)

    def hold(self, topics: Collection[str]) -> None:
        """From now on read none of these topics, and read all others. Repeating it is free."""
        if (held := frozenset(topics)) != self._held:
            self._held = held
            self._apply_pauses()

    def fresh_waits(self) -> bool:
        """Whether records have come while idle work is in hand, and wait for its end."""
        return self._fresh_waits

    def leaving(self) -> bool:
        """Whether the work in hand should end, unfinished: its partitions are being given back, or are gone already."""
        return self._revoking or self._overdue

    async def run(self, stopping: asyncio.Event) -> None:
        """Consume until `stopping` is set, then finish the work in hand and commit it.

        Raises OutageError when Kafka cannot be reached at the start, and whatever the worker raised beside outages.
        """
        try:
            await self._broker.start()
            self._polling.take_over(self._consumer)
            self._running = True
            self._idle_task = asyncio.create_task(self._idle_loop(), name=f"idle {self._settings.group}")
            await first_of(stopping, self._failed)
        except KafkaError as failure:
            raise OutageError("kafka", "Kafka cannot be reached; work begins when it can") from failure
        finally:
            await self._stop()
        if self._failure is not None:
            raise self._failure

    async def _stop(self) -> None:
        self._stopping, self._running = True, False
        if self._idle_task is not None:
            self._idle_task.cancel()
            await asyncio.gather(self._idle_task, return_exceptions=True)
        async with self._working:
            await self._commit({})
        await self._broker.stop()

    @asynccontextmanager
    async def _at_work(self) -> AsyncIterator[None]:
        async with self._working:
            self._overdue = False
            with self._polling.at_work():
                yield

    @property
    def _consumer(self) -> AIOKafkaConsumer | None:
        return self._subscriber.consumer

    async def _parse(self, records: Sequence[RawRecord]) -> KafkaAckableMessage:
        return KafkaAckableMessage(raw_message=tuple(records), body=b"", consumer=self._consumer)

    async def _on_batch(self, records: Any) -> None:
        self._fresh_waits = True
        polled_under = self._offsets if self._told else None
        try:
            async with self._at_work():
                self._fresh_waits = False
                await self._hand_over(records, polled_under)
        finally:
            self._fresh_waits = False

    async def _hand_over(self, records: Any, polled_under: Offsets | None) -> None:
        mine = self._of_owned(records)
        if not mine or self._stopping or self._failure is not None:
            return
        progress, assignment = Progress(mine), self._offsets
        try:
            if not self._outages:
                await self._tell_owned()
                # Since the poll, a rebalance may have taken some away, or brought them back finished.
                rest = await self._unfinished(self._of_owned(mine), polled_under)
                progress = progress if len(rest) == len(mine) else Progress(rest)
                await self._worker.deliver(rest, progress)
        except OutageError as away:
            self._outages.went_away(away)
        except BaseException as failure:
            self._fail(failure)
            raise
        finally:
            # Under a newer assignment Kafka begins at what the group has committed, and knows better.
            if assignment is self._offsets:
                self._go_back(progress.unfinished())
                await self._commit(progress.committable(), at_once=False)

    async def _unfinished(self, records: list[RawRecord], polled_under: Offsets | None) -> list[RawRecord]:
        """Without a rebalance since the poll, what is finished comes again only where the log itself went back."""
        beyond = self._offsets.beyond(records)
        if len(beyond) == len(records) or polled_under is not self._offsets:
            return beyond
        say_went_back(self._offsets.begin_anew(records))
        await self._worker.rebalanced(self._offsets.standing(self._owned))
        return records

    def _of_owned(self, records: Sequence[RawRecord]) -> list[RawRecord]:
        return [record for record in records if (record.topic, record.partition) in self._owned]

    async def _idle_loop(self) -> None:
        wait = self._settings.idle_s
        while True:
            await self._clock.sleep(wait)
            async with self._at_work():
                wait = await self._idle_step(wait)

    async def _idle_step(self, waited: float) -> float:
        try:
            self._polling.revive()
            await self._outages.probe(self._probe)
            await self._tell_owned()
            await self._commit({})
            await self._polling.ask()
            await self._worker.idle()
        except OutageError as away:
            self._outages.went_away(away)
            return min(away.retry_after_s or 0, _PAUSE_S) or min(max(waited * 2, _FIRST_PROBE_S), _LONGEST_PROBE_S)
        except Exception as failure:
            # The runtime loop: whatever ends it must be seen by the health check, and end the service.
            log.error("idle.failed", exc_info=failure)
            self._fail(failure)
            raise
        return self._settings.idle_s

    async def _probe(self, away: OutageError) -> None:
        if away.part == "kafka":
            await self._polling.ask(at_once=True)
        await self._worker.probe(away)

    def _fail(self, failure: BaseException) -> None:
        self._failure = failure
        self._failed.set()

    def _apply_pauses(self) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        for partition in self._owned:
            with suppress(IllegalStateError):
                if self._outages or partition.topic in self._held:
                    consumer.pause(TopicPartition(*partition))
                else:
                    consumer.resume(TopicPartition(*partition))

    def _go_back(self, offsets: Mapping[Partition, int]) -> None:
        for partition, offset in offsets.items():
            if self._consumer is not None and partition in self._owned:
                self._consumer.seek(TopicPartition(*partition), offset)

    async def _commit(self, offsets: Mapping[Partition, int], *, at_once: bool = True) -> None:
        wanted, now = self._offsets.to_commit(offsets, self._owned), self._clock.monotonic()
        if not wanted or self._consumer is None or not (at_once or now - self._committed_at >= _COMMIT_EVERY_S):
            return
        self._committed_at = now
        try:
            await self._polling.commit({TopicPartition(*p): offset for p, offset in wanted.items()})
        except (CommitFailedError, IllegalStateError):
            # The partitions have another owner; it meets these records again and finds them finished.
            log.info("commit.refused", group=self._settings.group)
            self._offsets.refused()
        except KafkaError as failure:
            log.warning("commit.failed", group=self._settings.group, error=type(failure).__name__)
        except OutageError as away:
            self._outages.went_away(away)
        else:
            self._offsets.reached(wanted)

    async def revoked(self, partitions: Iterable[Partition]) -> None:
        """Finish what is in hand within the deadline, then let go."""
        self._polling.assigned(now=False)
        self._revoking = True
        try:
            async with asyncio.timeout(self._settings.drain_s), self._working:
                await self._commit({})
        except TimeoutError:
            log.warning("drain.late", group=self._settings.group)
            self._overdue = True
        self._owned.difference_update(partitions)

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """Own these partitions from now on; the worker is told before their first record."""
        self._polling.assigned(now=True)
        self._revoking = False
        self._owned = set(partitions)
        self._told = False
        self._offsets = Offsets()
        self._apply_pauses()

    async def _tell_owned(self) -> None:
        # Not from the listener: aiokafka knows the committed offsets only after it has returned.
        while not self._told and self._consumer is not None:
            owned, assignment = [TopicPartition(*p) for p in sorted(self._owned)], self._offsets
            offsets = await self._polling.standing(owned)
            assignment.reached(offsets)
            await self._worker.rebalanced(offsets)
            # A rebalance in between may have given the same partitions back with other offsets.
            self._told = assignment is self._offsets

    def _dead(self) -> str | None:
        if self._failure is not None:
            return f"the consume loop of {self._settings.group} ended with {type(self._failure).__name__}"
        if not self._running:
            return None
        if self._idle_task is not None and self._idle_task.done():
            return f"the idle work of {self._settings.group} has ended"
        # FastStream starts its loop again after an exception, in a new task behind the old one.
        if all(task.done() for task in self._subscriber.tasks):
            return f"the consume loop of {self._settings.group} has ended"
        return None if "kafka" in self._outages else self._polling.wrong()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: RecordConsumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._consumer.revoked([Partition(p.topic, p.partition) for p in revoked])

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._consumer.assigned([Partition(p.topic, p.partition) for p in assigned])


async def _decode(message: KafkaAckableMessage) -> Any:
    return message.raw_message
