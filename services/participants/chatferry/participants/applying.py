"""The portal's topics are read from the start by each catalogue that has not applied them, whatever Kafka remembers.

A group's committed offsets say what some catalogue has had. One that was lost and begun anew, or was restored from a
time before, has not had it all: its own note of how far it got says so, and it reads on as another group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from chatferry.common.errors import OutageError
from chatferry.common.streaming.progress import Progress
from chatferry.common.streaming.records import Partition, RawRecord
from chatferry.common.streaming.worker import RecordWorker
from chatferry.common.telemetry.logs import get_logger

log = get_logger(__name__)


class Applied(Protocol):
    """How far this catalogue has applied the portal's topics. It is lost and restored with the catalogue."""

    async def reading(self) -> str:
        """The name of the reading that is under way; made when there is none."""

    async def reached(self, reading: str, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Of these partitions the offsets up to which that reading has applied them; those of which it has nothing are
        left out."""

    async def note(self, reading: str, before: Mapping[Partition, int], now: Mapping[Partition, int]) -> bool:
        """It got so far. False, and nothing is noted: another reading is under way, or less was reached than `before`,
        which was known once: the catalogue is another, or an older one."""

    async def begin_anew(self, reading: str) -> None:
        """Another takes this one's place, from the start; unless another has already."""


class Applying:
    """Port RecordWorker: hands over to another, and notes how far it got before Kafka is told.

    `lost`: is set when the catalogue knows less than that; from then on nothing is applied, and whoever sees it begins
    anew with another reading.
    """

    def __init__(self, worker: RecordWorker, applied: Applied, reading: str) -> None:
        self._worker, self._applied, self._reading = worker, applied, reading
        self._reached: dict[Partition, int] = {}
        self.lost = asyncio.Event()

    async def rebalanced(self, owned: Mapping[Partition, int]) -> None:
        self._reached = await self._applied.reached(self._reading, owned.keys())
        if any(self._reached.get(partition, 0) < (committed or 0) for partition, committed in owned.items()):
            await self._lose()
        await self._worker.rebalanced(owned)

    async def deliver(self, records: Sequence[RawRecord], progress: Progress) -> None:
        if self.lost.is_set():
            return
        await self._worker.deliver(records, Progress(records))
        now = dict(self._reached)
        for record in records:
            where = Partition(record.topic, record.partition)
            now[where] = max(now.get(where, 0), record.offset + 1)
        if await self._applied.note(self._reading, self._reached, now):
            self._reached = now
            progress.finish(records)
        else:
            await self._lose()

    async def idle(self) -> None:
        await self._worker.idle()

    async def probe(self, away: OutageError) -> None:
        await self._worker.probe(away)

    async def _lose(self) -> None:
        log.warning("catalogue.lost")
        await self._applied.begin_anew(self._reading)
        self.lost.set()
