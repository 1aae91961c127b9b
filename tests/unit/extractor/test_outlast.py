"""A step that waits for a part which is away."""

from __future__ import annotations

import asyncio
from typing import cast

from chatferry.common.clock import SystemClock
from chatferry.common.errors import OutageError
from chatferry.common.health import Health
from chatferry.common.telemetry.metrics import Metrics
from chatferry.extractor.steps.context import Drive, outlast


class _Drive:
    """What outlast needs of a drive."""

    def __init__(self) -> None:
        self.health, self.metrics, self.clock = Health(), Metrics(), SystemClock()

    def heed(self) -> None:
        return


async def _away() -> None:
    raise OutageError("redis", "Redis cannot be reached")


async def test_a_step_that_is_cancelled_while_it_waits_leaves_no_outage_behind() -> None:
    drive = _Drive()
    waiting = asyncio.create_task(outlast(cast("Drive", drive), _away))
    async with asyncio.timeout(5):
        while not drive.health.outages:  # noqa: ASYNC110 - health tells nobody
            await asyncio.sleep(0.005)
    assert "redis" in drive.health.ready()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert drive.health.ready() == {}
    assert drive.metrics.registry.get_sample_value("outage", {"part": "redis"}) == 0
