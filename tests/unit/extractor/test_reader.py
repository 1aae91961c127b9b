"""How batches are filled and refusals are taken, against a portal and a sink in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.unit.common.portal.portal_fakes import FakeClock

from chatferry.common.clock import Clock, SystemClock
from chatferry.common.entities.reading import Answer, Command, Harvest, Page, Refusal, Understanding
from chatferry.common.errors import LeaseLostError, OutageError
from chatferry.common.health import Health
from chatferry.common.telemetry.metrics import Metrics
from chatferry.extractor.ports import Lease
from chatferry.extractor.steps.context import Drive, Limits, ReadSequence
from chatferry.extractor.steps.reader import Active, Reader, Reaped

TRANSIENT = Refusal("INTERNAL_SERVER_ERROR", transient=True)


def a_drive(clock: Clock, **sizes: Any) -> Drive:
    limits = {"concurrency": 2, "batch_commands": 10, "page_size": 50, "open_walks": 40, "publish_chunk": 100}
    return Drive(
        run="r",
        lease=Lease("p", "o", 5),
        sequence=ReadSequence(5),
        told=Understanding("+03:00"),
        limits=Limits(**{**limits, "record_bytes_max": 9000, **sizes}),
        clock=clock,
        metrics=Metrics(),
        health=Health(),
        jitter=lambda: 1.0,
    )


@dataclass
class Pages:
    """A walk of so many pages, one a command."""

    name: str
    left: int
    chained: bool = False

    def needs(self) -> int:
        return 1

    def plan(self, room: int, label: str) -> list[Command]:
        count = min(room, self.left) if self.chained else 1
        return [Command(f"{label}_{n}", self.name, {}) for n in range(count)]

    def absorb(self, answers: Sequence[Answer]) -> Harvest:
        harvest = Harvest()
        for answer in answers:
            if answer.refusal is not None:
                harvest.refusal = answer.refusal
                return harvest
            self.left -= 1
            harvest.used += 1
            harvest.pages.append(Page(0, 1, []))
        harvest.ended = self.left == 0
        return harvest

    def state(self) -> dict[str, Any]:
        return {}


@dataclass
class Portal:
    """Answers; `refuse(method)` may refuse one command."""

    refuse: Callable[[str], Refusal | None] = lambda _: None
    sizes: list[int] = field(default_factory=list)
    webhooks: list[int] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    away: int = 0

    async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        if self.away:
            self.away -= 1
            raise OutageError("portal", "away")
        self.sizes.append(len(commands))
        self.webhooks.append(webhook)
        self.asked.update(command.method for command in commands)
        return [Answer(refusal=self.refuse(command.method)) for command in commands]

    async def call(self, webhook: int, method: str, params: Any = None) -> Answer:
        raise NotImplementedError


@dataclass
class Sink:
    """Remembers; `again` is handed out once for a failed walk."""

    taken: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    other: Active | None = None
    error: Exception | None = None

    async def take(self, reaped: Sequence[Reaped]) -> list[Active]:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.taken += [one.active.name for one in reaped if one.harvest.pages]
        return []

    async def failed(self, active: Active, refusal: Refusal) -> Active | None:
        self.failures.append((active.name, refusal.code))
        other, self.other = self.other, None
        return other


async def given(walks: Sequence[Active]) -> AsyncIterator[Active]:
    for walk in walks:
        yield walk


def actives(count: int, pages: int = 1, *, webhook: int = 1, chained: bool = False) -> list[Active]:
    return [
        Active(f"w{n}:{webhook}", Pages(f"m{n}", pages, chained), webhook, "m", "chat_messages") for n in range(count)
    ]


async def test_every_walk_is_read_to_its_end() -> None:
    portal, sink = Portal(), Sink()
    await Reader(portal, a_drive(FakeClock()), sink).read(given(actives(25, 3)))
    assert Counter(sink.taken) == {f"w{n}:1": 3 for n in range(25)}


async def test_batches_are_full_as_long_as_there_is_enough_to_ask() -> None:
    portal = Portal()
    reader = Reader(portal, a_drive(FakeClock()), Sink())
    await reader.read(given(actives(30, 4)))
    assert sum(portal.sizes) == 120
    assert len([size for size in portal.sizes if size < 10]) <= 2
    assert (reader.sent, reader.useful, reader.batches) == (120, 120, len(portal.sizes))


async def test_one_large_walk_that_is_left_is_chained_inside_a_batch() -> None:
    portal = Portal()
    await Reader(portal, a_drive(FakeClock()), Sink()).read(given(actives(1, 35, chained=True)))
    assert portal.sizes == [10, 10, 10, 5]


async def test_a_batch_holds_commands_of_one_webhook_only() -> None:
    portal, sink = Portal(), Sink()
    await Reader(portal, a_drive(FakeClock()), sink).read(given([*actives(7, 2), *actives(5, 2, webhook=9)]))
    assert len(sink.taken) == 24
    assert set(portal.webhooks) == {1, 9}


async def test_a_page_that_is_refused_for_now_is_asked_three_times_with_pauses() -> None:
    sink, portal = Sink(), Portal(lambda method: TRANSIENT if method == "m0" else None)
    drive = a_drive(SystemClock(), retry_after_s=(0.0, 0.02, 0.06))
    await Reader(portal, drive, sink).read(given(actives(3)))
    assert portal.asked["m0"] == 3
    assert sink.failures == [("w0:1", "INTERNAL_SERVER_ERROR")]
    counted = drive.metrics.registry.get_sample_value("retry_attempts_total", {"entity": "chat_messages"})
    assert counted == 2
    assert sorted(sink.taken) == ["w1:1", "w2:1"]


async def test_attempts_are_counted_for_each_page_and_not_for_a_walk() -> None:
    """A long chain may meet a refusal in every batch and still gets on."""

    class OnlyTheFirst(Portal):
        async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
            return [Answer(), *[Answer(refusal=TRANSIENT) for _ in commands[1:]]]

    sink, portal = Sink(), OnlyTheFirst()
    drive = a_drive(SystemClock(), retry_after_s=(0.0, 0.001, 0.001))
    await Reader(portal, drive, sink).read(given(actives(1, 12, chained=True)))
    assert sink.failures == []


async def test_what_may_be_asked_later_is_no_attempt() -> None:
    answers = iter([Refusal("OPERATION_TIME_LIMIT", transient=True, later_s=0.01)] * 5 + [None])
    sink = Sink()
    await Reader(Portal(lambda _: next(answers)), a_drive(SystemClock()), sink).read(given(actives(1)))
    assert (sink.failures, sink.taken) == ([], ["w0:1"])


async def test_a_walk_refused_for_good_goes_on_through_what_the_sink_offers() -> None:
    portal = Portal(lambda method: Refusal("ACCESS_ERROR", transient=False) if method == "m0" else None)
    sink = Sink(other=Active("other", Pages("m9", 2), 7, "m", "chat_messages"))
    await Reader(portal, a_drive(FakeClock()), sink).read(given(actives(1)))
    assert sink.failures == [("w0:1", "ACCESS_ERROR")]
    assert sink.taken == ["other", "other"]
    assert portal.asked["m0"] == 1


async def test_an_outage_of_the_portal_or_of_the_store_is_waited_out() -> None:
    clock, portal, sink = FakeClock(), Portal(away=3), Sink(error=OutageError("mongodb", "away"))
    await Reader(portal, a_drive(clock), sink).read(given(actives(2, 2)))
    assert Counter(sink.taken) == {"w0:1": 2, "w1:1": 2}
    assert clock.slept[:3] == [0.5, 1.0, 2.0]


async def test_what_ends_the_drive_ends_the_reading_at_once() -> None:
    with pytest.raises(LeaseLostError):
        await Reader(Portal(), a_drive(FakeClock()), Sink(error=LeaseLostError("gone"))).read(given(actives(9, 9)))


async def test_a_list_of_nothing_is_read() -> None:
    await Reader(Portal(), a_drive(FakeClock()), Sink()).read(given([]))
