"""What all steps of one driven run share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from chatferry.common.clock import Clock
from chatferry.common.entities.reading import Understanding
from chatferry.common.errors import LeaseLostError, OutageError, StoppedError
from chatferry.common.health import Health
from chatferry.common.telemetry.logs import get_logger
from chatferry.common.telemetry.metrics import Metrics
from chatferry.extractor.ports import Lease

log = get_logger(__name__)
T = TypeVar("T")
SEQ_BITS = 21
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 2.0
_LONGEST_WAIT_FOR_PORTAL_S = 5.0
"""Each look at the portal costs a request of its limits; a look at our own parts costs nothing."""


class ReadSequence:
    """`read_seq = epoch * 2^21 + n`, taken before each portal request (data.md §2)."""

    def __init__(self, epoch: int) -> None:
        self._next, self._end = epoch << SEQ_BITS, (epoch + 1) << SEQ_BITS

    def take(self) -> int:
        """The next number, never one of another epoch. LeaseLostError when they are used up: take a new lease."""
        self._next += 1
        if self._next >= self._end:
            raise LeaseLostError("the read numbers of this lease are used up; the next one goes on")
        return self._next


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes of the work: see ExtractorSettings."""

    concurrency: int
    batch_commands: int
    page_size: int
    open_walks: int
    publish_chunk: int
    record_bytes_max: int
    retry_after_s: tuple[float, ...] = (0.0, 2.0, 6.0)


@dataclass(frozen=True, slots=True)
class Drive:
    """One run, driven under one lease."""

    run: str
    lease: Lease
    sequence: ReadSequence
    told: Understanding
    limits: Limits
    clock: Clock
    metrics: Metrics
    health: Health
    jitter: Callable[[], float]
    newest: int | None = None
    """test_limit: how many of the newest children of each root are listed."""
    method: str | None = None
    """The method that reads the children, when the family has a choice."""
    halt: asyncio.Event = field(default_factory=asyncio.Event)
    """An operator has asked for the end: what is under way is finished, nothing more is begun."""
    left: set[str] = field(default_factory=set)
    """Parts that cancelled steps have waited for: said to be away until the drive has ended, and whoever it was that
    cancelled them has said why."""

    def heed(self) -> None:
        """A safe point: StoppedError when the run is to end here."""
        if self.halt.is_set():
            raise StoppedError


async def outlast(drive: Drive, step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a step for as long as a part that it needs is away. It stops progress, and is no fault of any record.

    StoppedError when the run is to end meanwhile.
    """
    wait = _FIRST_WAIT_S
    missed: set[str] = set()
    try:
        while True:
            try:
                return await step()
            except OutageError as away:
                missed.add(away.part)
                log.warning("outage", part=away.part)
                drive.health.outage(away.part, away.sentence)
                drive.heed()
                await drive.clock.sleep(away.retry_after_s or wait)
                wait = min(wait * 2, _LONGEST_WAIT_FOR_PORTAL_S if away.part == "portal" else _LONGEST_WAIT_S)
    except asyncio.CancelledError:
        drive.left.update(missed)
        missed.clear()
        raise
    finally:
        # Done or superseded, this step waits for nobody any more: who goes on finds out anew.
        for part in missed:
            drive.health.outage(part, None)


def first_of(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error that a task group met."""
    first: BaseException = failures
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
