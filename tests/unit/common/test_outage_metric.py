"""The metric `outage{part}` says what /readyz says, whoever told it."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from chatferry.common.clock import Clock
from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.errors import OutageError
from chatferry.common.service import Context
from chatferry.common.streaming.outages import Outages
from chatferry.verifier.adapters.patient import PatientTarget
from chatferry.verifier.domain.errors import ReadBackError
from chatferry.verifier.handlers import Desk, Watch
from chatferry.verifier.ports import Target


def _shown(context: Context, part: str) -> float | None:
    return context.metrics.registry.get_sample_value("outage", {"part": part})


def test_a_part_that_was_never_named_is_not_shown() -> None:
    context = Context()
    context.reached("kafka")
    assert _shown(context, "kafka") is None


def test_a_part_of_a_check_is_shown_as_well_from_the_start() -> None:
    context, wrong = Context(), list[str]()
    context.health.away_when("mongodb", lambda: wrong[0] if wrong else None)
    assert _shown(context, "mongodb") == 0
    wrong.append("MongoDB does not answer")
    assert _shown(context, "mongodb") == 1
    assert context.health.ready() == {"mongodb": "MongoDB does not answer"}


def test_what_is_not_ready_without_a_part_being_away_is_no_outage() -> None:
    context = Context()
    context.health.ready_when("chats", lambda: "the chats are not read yet")
    assert context.health.unready()
    assert _shown(context, "chats") is None


async def test_an_outage_that_a_consumer_meets_is_shown_until_a_probe_is_answered() -> None:
    context = Context()
    outages = Outages(context.health, lambda: None)
    outages.went_away(OutageError("target", "the target does not answer"))
    assert _shown(context, "target") == 1

    async def ask(away: OutageError) -> None:
        del away

    await outages.probe(ask)
    assert _shown(context, "target") == 0


class _Target:
    """Does not answer until it is back; looks at the metric whenever it is asked."""

    def __init__(self, context: Context) -> None:
        self.context, self.asked, self.seen = context, 0, list[float | None]()

    async def count(self, entity: Entity, parent: str | None = None) -> int:
        self.asked += 1
        self.seen.append(_shown(self.context, "target"))
        if self.asked <= 3:
            raise OutageError("target", "the target does not answer")
        return 7


class _Clock:
    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        del seconds


async def test_a_target_that_the_verifier_waits_for_is_shown_until_it_answers() -> None:
    context = Context(clock=cast("Clock", _Clock()))
    target = _Target(context)
    patient = PatientTarget(cast("Target", target), context.clock, context.health)
    assert await patient.count(ENTITIES["chats"]) == 7
    assert target.seen == [None, None, 1, 1, 0]
    assert _shown(context, "target") == 0


class _Announcer:
    def __init__(self) -> None:
        self.away = True

    async def announce(self) -> None:
        if self.away:
            raise OutageError("kafka", "Kafka does not answer")


class _NoRuns:
    async def wanted(self) -> list[object]:
        return []


@pytest.mark.parametrize("before", ["mongodb", None])
async def test_what_the_verifier_finds_away_is_shown_until_it_is_back(before: str | None) -> None:
    context, announcer, stopping = Context(), _Announcer(), asyncio.Event()
    if before is not None:
        context.missed(OutageError(before, "MongoDB does not answer"))
        assert _shown(context, before) == 1
    desk = Desk(_NoRuns(), None, None, announcer, context.clock, context.health, None)  # type: ignore[arg-type]
    watching = asyncio.create_task(Watch(desk, 0.005, 1).until(stopping))
    async with asyncio.timeout(5):
        while _shown(context, "kafka") != 1:  # noqa: ASYNC110 - metrics tell nobody
            await asyncio.sleep(0.005)
        announcer.away = False
        while _shown(context, "kafka") != 0:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        stopping.set()
        await watching
    assert not _shown(context, "mongodb")


class _Unwell(_Target):
    """Answers a count from the second on, and never gives a record."""

    async def count(self, entity: Entity, parent: str | None = None) -> int:
        self.asked += 1
        if self.asked == 1:
            raise OutageError("target", "the target does not answer")
        return 7

    async def get(self, entity: Entity, keys: object) -> dict[str, object]:
        raise OutageError("target", "the target does not answer")


async def test_a_target_that_answers_a_small_question_is_not_shown_as_away() -> None:
    context = Context(clock=cast("Clock", _Clock()))
    patient = PatientTarget(cast("Target", _Unwell(context)), context.clock, context.health)
    with pytest.raises(ReadBackError):
        await patient.get(ENTITIES["chats"], ["source:chat:1"])
    assert _shown(context, "target") == 0


async def test_a_target_that_nobody_waits_for_any_more_is_not_shown_as_away() -> None:
    context = Context()
    target = _Target(context)
    target.asked = -1_000_000
    waiting = asyncio.create_task(
        PatientTarget(cast("Target", target), context.clock, context.health).count(ENTITIES["chats"])
    )
    async with asyncio.timeout(5):
        while _shown(context, "target") != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert _shown(context, "target") == 0
