"""What a service gives to the runtime: its work, and how much of it at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chatferry.common.errors import OutageError
from chatferry.common.streaming.progress import Progress
from chatferry.common.streaming.records import Partition, RawRecord


class RecordWorker(Protocol):
    """What a service does with records. Its methods never run beside each other."""

    async def rebalanced(self, owned: Mapping[Partition, int]) -> None:
        """These partitions are owned now, each with the offset it goes on from. What was held for others is dropped."""

    async def deliver(self, records: Sequence[RawRecord], progress: Progress) -> None:
        """Finish the records, telling `progress`. OutageError: what is unfinished is delivered again, later."""

    async def idle(self) -> None:
        """Called several times a second: do what waits for time rather than for records."""

    async def probe(self, away: OutageError) -> None:
        """Ask the part that was away for something small. OutageError while it still is."""


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """`topics`: records that were fetched of an earlier one are handed over first, for as long as there are any.

    `max_records`, `max_bytes`: most handed over at once, by count and (about) by the size of the bodies.

    `drain_s`: longest wait for work in hand at a revocation.

    `max_poll_interval_ms`: longest `deliver`; a process that hangs for longer loses its partitions.
    """

    group: str
    topics: tuple[str, ...]
    max_records: int = 2_000
    poll_ms: int = 50
    idle_s: float = 0.2
    drain_s: float = 10.0
    max_poll_interval_ms: int = 900_000
    session_timeout_ms: int = 10_000
    max_partition_bytes: int = 160 * 1024
    max_bytes: int = 16 * 1024 * 1024
