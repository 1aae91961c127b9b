"""What goes on beside a run's story: how often it is told, and what a word to stop does."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.common.portal.portal_fakes import FakeClock
from tests.unit.extractor.test_reader import a_drive

from chatferry.common.contracts.events import Phase, RunProgress
from chatferry.common.entities import FAMILIES
from chatferry.common.errors import StoppedError
from chatferry.extractor.steps.company import Company
from chatferry.extractor.steps.context import Drive


@dataclass
class Outside:
    """Runs, tally and events in one; counting takes `costs` seconds, and the story ends after `most` events."""

    clock: FakeClock
    costs: float = 0.0
    most: int = 4
    stop: Any = None
    told: list[tuple[float, RunProgress]] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)

    async def counts(self, *_: Any) -> dict[str, dict[str, int]]:
        await self.clock.sleep(self.costs)
        return {"users": {"extracted": len(self.told)}}

    async def progress(self, event: RunProgress) -> None:
        self.told.append((self.clock.monotonic(), event))
        if len(self.told) == self.most:
            raise StoppedError

    async def update(self, run: str, epoch: int, fields: dict[str, Any]) -> None:
        self.document |= fields

    async def get(self, run: str) -> dict[str, Any]:
        return {"_id": run, "stop": self.stop}


def company(drive: Drive, outside: Any) -> Company:
    def stage() -> tuple[Phase | None, str]:
        return "get", "running"

    async def count() -> None:
        return None

    return Company(FAMILIES["users"], drive, outside, outside, outside, stage, count)


async def test_progress_is_told_at_once_and_then_once_in_five_seconds() -> None:
    clock = FakeClock()
    outside = Outside(clock)
    began = clock.monotonic()
    with pytest.raises(StoppedError):
        await company(a_drive(clock), outside).tell(None)
    times = [at - began for at, _ in outside.told]
    assert times == pytest.approx([0, 5, 10, 15])
    assert [event.counts for _, event in outside.told] == [{"users": {"extracted": n}} for n in range(4)]
    assert outside.document["progress_at"] == outside.told[-1][1].at


async def test_who_takes_a_run_over_waits_until_its_turn() -> None:
    clock = FakeClock()
    outside = Outside(clock, most=1)
    began = clock.monotonic()
    with pytest.raises(StoppedError):
        await company(a_drive(clock), outside).tell(clock.now() - timedelta(seconds=2))
    assert outside.told[0][0] - began == pytest.approx(3)


async def test_counting_that_costs_much_is_done_less_often() -> None:
    clock = FakeClock()
    outside = Outside(clock, costs=2.0, most=3)
    with pytest.raises(StoppedError):
        await company(a_drive(clock), outside).tell(None)
    times = [at for at, _ in outside.told]
    assert [after - before for before, after in itertools.pairwise(times)] == pytest.approx([42, 42])


async def test_a_word_to_stop_lets_the_story_come_to_its_safe_point() -> None:
    clock = FakeClock()
    drive, reached = a_drive(clock), []

    async def story() -> None:
        await drive.halt.wait()
        await asyncio.sleep(0.01)
        reached.append("the chunk is answered")
        drive.heed()

    task = asyncio.create_task(story())
    await company(drive, Outside(clock, stop={"reason": "…"})).listen(task)
    with pytest.raises(StoppedError):
        await task
    assert reached


async def test_a_story_that_comes_to_no_safe_point_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatferry.extractor.steps.company._PATIENCE_S", 0.02)
    drive = a_drive(FakeClock())
    task = asyncio.create_task(asyncio.sleep(3600))
    await company(drive, Outside(FakeClock(), stop={"reason": "…"})).listen(task)
    with pytest.raises(asyncio.CancelledError):
        await task
