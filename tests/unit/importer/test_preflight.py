"""What the importer says of the target before a run begins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.unit.importer.fakes import FakeClock

from chatferry.common.contracts.target import ItemResult
from chatferry.common.entities import Entity
from chatferry.importer.domain.records import ImportRecord
from chatferry.importer.ports import CallFailedError, Trouble
from chatferry.importer.preflight import TargetCheck

PAUSE = CallFailedError(Trouble.THROTTLED, "target.quiet", "the target asked for a pause", 2.0)
CLOSED = CallFailedError(Trouble.DENIED, "target.http_401", "correct the URL")


class _Target:
    def __init__(self, refusals: Sequence[CallFailedError]) -> None:
        self._refusals = list(refusals)

    async def send(self, entity: Entity, records: Sequence[ImportRecord]) -> list[ItemResult]:
        raise NotImplementedError

    async def probe(self, entity: Entity) -> None:
        del entity
        if self._refusals:
            raise self._refusals.pop(0)


class _Runs:
    def __init__(self) -> None:
        self.answers: list[tuple[str, bool, str]] = []
        self.stopping = asyncio.Event()

    async def unanswered(self) -> list[tuple[str, str]]:
        return [("r", "chats")]

    async def answer(self, run: str, ok: bool, detail: str) -> None:
        self.answers.append((run, ok, detail))
        self.stopping.set()


@pytest.mark.parametrize(
    ("refusals", "ok", "detail"),
    [
        ([], True, "the target lets us in"),
        ([PAUSE, PAUSE], True, "the target lets us in"),
        ([PAUSE, CLOSED], False, "correct the URL"),
        ([PAUSE] * 50, False, "the target asks for fewer calls all the time; ask again in a minute"),
    ],
)
async def test_a_target_that_asks_for_a_pause_is_asked_again_before_a_run_is_blocked(
    refusals: list[CallFailedError], ok: bool, detail: str
) -> None:
    runs, clock = _Runs(), FakeClock()
    await TargetCheck(_Target(refusals), runs, clock).until(runs.stopping)
    assert runs.answers == [("r", ok, detail)]
    assert clock.seconds <= 20
