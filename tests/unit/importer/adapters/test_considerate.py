"""A pause that the target asks of one replica, obeyed by the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from tests.unit.importer.fakes import FakeClock, FakeSilence

from chatferry.common.contracts.target import ItemResult
from chatferry.common.entities import ENTITIES, Entity
from chatferry.importer.adapters.considerate import ConsiderateTarget
from chatferry.importer.domain.records import ImportRecord
from chatferry.importer.ports import CallFailedError, Trouble

CHATS = ENTITIES["chats"]


@dataclass
class _Target:
    clock: FakeClock
    refusal: CallFailedError | None = None
    called_at: list[float] = field(default_factory=list)

    async def send(self, entity: Entity, records: Sequence[ImportRecord]) -> list[ItemResult]:
        await self.probe(entity)
        return []

    async def probe(self, entity: Entity) -> None:
        self.called_at.append(self.clock.seconds)
        if self.refusal is not None:
            raise self.refusal


@pytest.mark.parametrize("trouble", [Trouble.THROTTLED, Trouble.SHAKY])
async def test_no_replica_calls_a_target_that_asked_one_of_them_to_wait(trouble: Trouble) -> None:
    clock = FakeClock()
    target, silence = _Target(clock), FakeSilence(clock)
    one, other = (ConsiderateTarget(target, silence, clock) for _ in range(2))
    await other.send(CHATS, [])
    target.refusal = CallFailedError(trouble, "target.http_429", "wait", 30.0)
    with pytest.raises(CallFailedError):
        await one.send(CHATS, [])
    target.refusal = None
    clock.seconds = 0.5
    for replica in (one, other):
        with pytest.raises(CallFailedError) as told:
            await replica.probe(CHATS)
        assert (told.value.trouble, told.value.retry_after_s) == (Trouble.THROTTLED, 29.5)
    assert target.called_at == [0.0, 0.0]
    clock.seconds = 30.0
    await other.send(CHATS, [])
    await one.send(CHATS, [])
    assert target.called_at[2:] == [30.0, 30.0]


async def test_a_refusal_without_a_time_silences_nobody() -> None:
    clock = FakeClock()
    target, silence = _Target(clock), FakeSilence(clock)
    target.refusal = CallFailedError(Trouble.SHAKY, "target.http_500", "broken")
    replica = ConsiderateTarget(target, silence, clock)
    for _ in range(2):
        with pytest.raises(CallFailedError, match="broken"):
            await replica.probe(CHATS)
    assert await silence.left_s() == 0.0


class _SlowSilence(FakeSilence):
    """Answers a look only once it may; what it says is as of the asking."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.may_answer = asyncio.Event()

    async def left_s(self) -> float:
        left = await super().left_s()
        await self.may_answer.wait()
        return left


async def test_a_pause_that_one_lane_is_told_holds_for_one_that_looked_just_before() -> None:
    clock = FakeClock()
    target, silence = _Target(clock), _SlowSilence(clock)
    replica = ConsiderateTarget(target, silence, clock)
    silence.may_answer.set()
    await replica.send(CHATS, [])
    target.refusal = CallFailedError(Trouble.THROTTLED, "target.http_429", "wait", 30.0)
    with pytest.raises(CallFailedError):
        await replica.send(CHATS, [])
    target.refusal, replica._asked = None, float("-inf")
    silence._until = 0.0
    with pytest.raises(CallFailedError) as told:
        await replica.send(CHATS, [])
    assert told.value.retry_after_s == 30.0


async def test_lanes_that_look_at_once_are_not_silenced_by_each_other() -> None:
    clock = FakeClock()
    target, silence = _Target(clock), _SlowSilence(clock)
    replica = ConsiderateTarget(target, silence, clock)
    lanes = []
    for _ in range(3):
        lanes.append(asyncio.create_task(replica.send(CHATS, [])))
        await asyncio.sleep(0)
        clock.seconds += 0.3
    silence.may_answer.set()
    await asyncio.gather(*lanes)
    assert len(target.called_at) == 3
