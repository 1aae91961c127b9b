"""A step that waits for a part which is away."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from chatferry.common.clock import SystemClock
from chatferry.common.errors import OutageError
from chatferry.common.health import Health
from chatferry.common.service import Context
from chatferry.common.telemetry.metrics import Metrics
from chatferry.extractor.handlers import Driver, Workshop
from chatferry.extractor.ports import RunDocument
from chatferry.extractor.steps.context import Drive, outlast


class _Drive:
    """What outlast needs of a drive."""

    def __init__(self) -> None:
        self.health, self.metrics, self.clock = Health(), Metrics(), SystemClock()
        self.metrics.show_outages(self.health.parts)
        self.left = set[str]()

    def heed(self) -> None:
        return


async def _away() -> None:
    raise OutageError("redis", "Redis cannot be reached")


async def _until_named(health: Health, part: str) -> None:
    async with asyncio.timeout(5):
        while part not in health.outages:  # noqa: ASYNC110 - health tells nobody
            await asyncio.sleep(0.005)


async def test_a_step_that_is_cancelled_while_it_waits_leaves_the_outage_to_who_cancelled_it() -> None:
    drive = _Drive()
    waiting = asyncio.create_task(outlast(cast("Drive", drive), _away))
    await _until_named(drive.health, "redis")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert drive.left == {"redis"}
    assert "redis" in drive.health.ready()


async def test_a_step_that_is_done_has_waited_for_nobody() -> None:
    drive = _Drive()
    answers = iter([OutageError("redis", "Redis cannot be reached")])

    async def step() -> str:
        if (away := next(answers, None)) is not None:
            raise away
        return "done"

    assert await outlast(cast("Drive", drive), step) == "done"
    assert drive.left == set()
    assert drive.health.ready() == {}
    assert drive.metrics.registry.get_sample_value("outage", {"part": "redis"}) == 0


class _Leases:
    """A lease that is had, and cannot be renewed for a part that is away."""

    async def acquire(self, portal: str) -> str:
        return portal

    async def renew(self, lease: str) -> None:
        del lease
        raise OutageError("mongodb", "MongoDB cannot be reached")

    async def release(self, lease: str) -> None:
        await asyncio.sleep(0.05)
        raise OutageError("mongodb", "MongoDB cannot be reached")


async def test_an_outage_that_ends_a_drive_is_said_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    context, run = Context(), {"_id": "r", "portal": "p", "state": "running"}

    async def get(_: str) -> object:
        return run

    shop = SimpleNamespace(leases=_Leases(), runs=SimpleNamespace(get=get), lease_seconds=0.3)
    driver = Driver(cast("Workshop", shop), context)

    async def story(*_: object) -> None:
        drive = SimpleNamespace(
            health=context.health,
            metrics=context.metrics,
            clock=context.clock,
            left=driver._left,
            heed=lambda: None,
        )
        try:
            await outlast(cast("Drive", drive), _away)
        finally:
            # A transaction that is under way asks MongoDB to end it.
            await asyncio.sleep(0.1)

    monkeypatch.setattr(driver, "_story", story)
    driving = asyncio.create_task(driver._drive(cast("RunDocument", run)))
    await _until_named(context.health, "redis")
    while not driving.done():
        assert context.health.outages, "nothing is said to be away"
        await asyncio.sleep(0)
    assert isinstance(driving.exception(), OutageError)
    assert context.health.outages.keys() == {"mongodb"}
