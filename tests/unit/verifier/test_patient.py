"""A target that asks for a pause gets it from every call of the verifier."""

from __future__ import annotations

import asyncio
from typing import cast

from chatferry.common.clock import Clock
from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.errors import OutageError
from chatferry.common.health import Health
from chatferry.verifier.adapters.patient import PatientTarget
from chatferry.verifier.ports import Target

CHATS = ENTITIES["chats"]


class _Clock:
    """Time passes when somebody waits for it."""

    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.at += seconds


class _Limited:
    """Asks for so many seconds at the calls of these numbers, and writes down when it was called."""

    def __init__(self, clock: _Clock, *limited: int, wait_s: float = 10.0) -> None:
        self._clock, self._limited, self._wait_s = clock, limited, wait_s
        self.calls: list[tuple[str, float]] = []

    async def count(self, entity: Entity, parent: str | None = None) -> int:
        self._called("count")
        return 7

    async def get(self, entity: Entity, keys: object) -> dict[str, object]:
        self._called("get")
        return {}

    def _called(self, name: str) -> None:
        self.calls.append((name, self._clock.at))
        if len(self.calls) in self._limited:
            raise OutageError("target", "the target cannot serve now (HTTP 429)", retry_after_s=self._wait_s)


async def test_nothing_is_asked_before_the_time_that_the_target_gave_not_even_a_probe() -> None:
    clock, health = _Clock(), Health()
    target = _Limited(clock, 1, 2)
    patient = PatientTarget(cast("Target", target), cast("Clock", clock), health)
    assert await patient.get(CHATS, ["source:chat:1"]) == {}
    assert target.calls == [("get", 100.0), ("get", 110.0), ("get", 120.0)]
    assert "target" not in health.outages


async def test_a_target_that_says_no_more_than_come_again_is_not_asked_without_any_pause() -> None:
    clock = _Clock()
    target = _Limited(clock, 1, wait_s=0.0)
    patient = PatientTarget(cast("Target", target), cast("Clock", clock), Health())
    assert await patient.get(CHATS, ["source:chat:1"]) == {}
    assert [name for name, _ in target.calls] == ["get", "count", "get"]
    assert target.calls[-1][1] > 100.0


async def test_a_pause_that_one_call_was_told_holds_for_the_others() -> None:
    clock = _Clock()
    target = _Limited(clock, 1)
    patient = PatientTarget(cast("Target", target), cast("Clock", clock), Health())
    await asyncio.gather(patient.get(CHATS, ["source:chat:1"]), _a_moment_later(patient))
    assert target.calls[0] == ("get", 100.0)
    assert sorted(name for name, at in target.calls[1:] if at >= 110.0) == ["count", "get"]


async def _a_moment_later(patient: PatientTarget) -> None:
    await asyncio.sleep(0)
    await patient.count(CHATS)
