"""Lines of a run name it, whoever writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.common.portal.portal_fakes import FakeClock
from tests.unit.extractor.test_reader import a_drive

from chatferry.common.errors import OutageError
from chatferry.common.service import Context
from chatferry.extractor.handlers import Driver, Workshop
from chatferry.extractor.ports import Lease
from chatferry.extractor.steps.context import outlast


class Shop:
    """One run, which anybody may drive."""

    lease_seconds = 30.0

    def __init__(self) -> None:
        self.runs = self.leases = self

    async def get(self, run: str) -> dict[str, Any]:
        return {"_id": run, "state": "running"}

    async def acquire(self, portal: str) -> Lease:
        return Lease(portal, "o", 5)

    async def release(self, lease: Lease) -> None:
        """Anybody may."""

    async def renew(self, lease: Lease) -> None:
        """It is kept."""


async def test_every_line_that_is_written_while_a_run_is_driven_names_it_and_its_entity(
    monkeypatch: pytest.MonkeyPatch, said: Callable[[], list[dict[str, Any]]]
) -> None:
    driver = Driver(cast("Workshop", Shop()), cast("Context", SimpleNamespace(stopping=asyncio.Event(), reached=print)))
    answers = iter([OutageError("portal", "away"), None])

    async def step() -> None:
        if (away := next(answers)) is not None:
            raise away

    async def story(*_: object) -> None:
        await outlast(a_drive(FakeClock()), step)

    monkeypatch.setattr(driver, "_story", story)
    assert await driver._drive({"_id": "chats-7", "family": "chats", "portal": "p"})
    [line] = said()
    assert (line["event"], line["part"], line["run"], line["entity"]) == ("outage", "portal", "chats-7", "chats")
