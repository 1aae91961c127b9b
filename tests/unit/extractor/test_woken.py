"""The extractor drives whether or not somebody can wake it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from chatferry.common.errors import OutageError
from chatferry.common.service import Context
from chatferry.extractor import app
from chatferry.extractor.handlers import Driver
from chatferry.extractor.settings import ExtractorSettings


class Sleeper:
    def wake(self) -> None:
        """Nobody is asleep."""


async def test_without_kafka_the_work_begins_and_kafka_is_named_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context, away = Context(), [True]

    @asynccontextmanager
    async def wake_on(*_: object) -> AsyncIterator[None]:
        if away[0]:
            raise OutageError("kafka", "it is away")
        yield

    monkeypatch.setattr(app, "wake_on", wake_on)
    monkeypatch.setattr(app, "_LISTEN_AGAIN_S", 0.01)

    def outage() -> float | None:
        return context.metrics.registry.get_sample_value("outage", {"part": "kafka"})

    async with asyncio.timeout(5), app._woken(cast("ExtractorSettings", None), cast("Driver", Sleeper()), context):
        while "kafka" not in context.health.outages:  # noqa: ASYNC110 - health tells nobody
            await asyncio.sleep(0.005)
        assert outage() == 1
        away[0] = False
        while context.health.outages:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert outage() == 0
