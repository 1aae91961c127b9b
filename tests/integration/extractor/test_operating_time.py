"""A Get that costs several times what a method may in ten minutes: it waits, and the portal never has to refuse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.extractor.conftest import small_portal
from tests.integration.extractor.extractor_world import UNLIMITED, World, a_world

from chatferry.common.entities.reading import Answer, Command
from chatferry.extractor.steps.parts import Parts
from chatferry.simulators.bitrix24 import PortalSettings
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
LIMIT_S = 20.0
MESSAGES, DIALOG = "im.dialog.messages.get", "im.dialog.get"


class TimeMachine:
    """The portal as it is. Who is told to come back later is brought there: both clocks are set forward, while no call
    is under way (the portal would count it after that moment, and we before it)."""

    def __init__(self, world: World) -> None:
        self.world, self.inner = world, None
        self.waited: list[float] = []
        self.most_spent = 0.0
        self._under_way = 0
        self._changed = asyncio.Condition()

    def hook(self, parts: Parts) -> Parts:
        self.inner = parts.portal  # type: ignore[assignment]
        return replace(parts, portal=self)

    async def call(self, webhook: int, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        async with self._present():
            return await self.inner.call(webhook, method, params)  # type: ignore[attr-defined, no-any-return]

    async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        async with self._present():
            answers: list[Answer] = await self.inner.batch(webhook, commands)  # type: ignore[attr-defined]
        engine = self.world.running.board.engine
        self.most_spent = max(
            self.most_spent, *(engine.operating.spent(hook, MESSAGES)[0] for hook in engine.portal.webhooks)
        )
        later = max((one.refusal.later_s or 0.0 for one in answers if one.refusal is not None), default=0.0)
        if later > 1:
            self.waited.append(later)
            await self.skip(later)
        quick = (
            replace(one.refusal, later_s=0.01) if one.refusal and one.refusal.later_s else one.refusal
            for one in answers
        )
        return [replace(one, refusal=refusal) for one, refusal in zip(answers, quick, strict=True)]

    @asynccontextmanager
    async def _present(self) -> AsyncIterator[None]:
        """A call is under way: none begins while the clocks are set."""
        async with self._changed:
            self._under_way += 1
        try:
            yield
        finally:
            async with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    async def skip(self, seconds: float) -> None:
        async with self._changed:
            # While it waits others may begin; once it has its turn nobody does before it is done.
            await self._changed.wait_for(lambda: self._under_way == 0)
            self.world.running.board.clock.skip(seconds)
            redis = self.world.redis
            async for key in redis.scan_iter(f"chatferry:portal:{self.world.portal_client().host}:operating:*"):
                while (before := await redis.get(key)) is not None:
                    if await redis.eval(_SWAP, 1, key, before, older(before, seconds)):
                        break


_SWAP = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end redis.call('SET', KEYS[1], ARGV[2]) return 1"


def older(stored: bytes | str, seconds: float) -> str:
    """The same meters, written so many seconds earlier."""
    state = json.loads(stored)
    for meter in state["meters"].values():
        meter["slots"] = [[at - seconds, spent] for at, spent in meter["slots"]]
        meter["flying"] = {ticket: [count, since - seconds] for ticket, (count, since) in meter["flying"].items()}
        for name in ("reset", "blocked", "settled"):
            meter[name] -= seconds
    return json.dumps(state)


@pytest.mark.parametrize("cost", [0.7, 3.0])
async def test_a_run_that_reaches_the_limit_is_never_refused(stack: Addresses, topics: str, cost: float) -> None:
    rules = PortalSettings(operating_limit_s=LIMIT_S, operating_cost_s={MESSAGES: cost, DIALOG: 2 * cost})
    async with a_world(stack, small_portal(), rules, topics_of=topics) as world:
        world.limits = replace(UNLIMITED, operating_s=LIMIT_S)
        world.sizes = replace(world.sizes, page_size=2)
        machine = TimeMachine(world)
        run = await world.get(hook=machine.hook)
        told = world.running.statistics
        assert told.commands[MESSAGES] * cost > 2 * LIMIT_S, "the limit was not reached"
        assert told.command_errors["OPERATION_TIME_LIMIT"] == told.errors["OPERATION_TIME_LIMIT"] == 0
        assert machine.waited
        assert 0.8 * LIMIT_S - cost < machine.most_spent <= LIMIT_S
        await world.assert_equal_to_the_portal()
        await world.assert_balanced()
        await world.assert_intervals(run["_id"])


async def test_two_processes_together_are_never_refused(stack: Addresses, topics: str) -> None:
    """Each reads for itself; what one has spent, and what it has under way, the other knows."""
    rules = PortalSettings(operating_limit_s=LIMIT_S, operating_cost_s={MESSAGES: 1.0})
    async with a_world(stack, small_portal(), rules, topics_of=topics) as world:
        limits = replace(UNLIMITED, operating_s=LIMIT_S)
        clients = [world.portal_client(limits), world.portal_client(limits)]
        chat = next(iter(world.portal.chats))
        sent = 0
        for _ in range(12):
            commands = [Command(f"c{n}", MESSAGES, {"DIALOG_ID": f"chat{chat}"}) for n in range(7)]
            pair = [client.batch(world.webhooks[0], commands) for client in clients]
            for answers in await asyncio.gather(*pair):
                sent += sum(answer.refusal is None for answer in answers)
        told = world.running.statistics
        assert told.command_errors["OPERATION_TIME_LIMIT"] == 0
        assert 0.8 * LIMIT_S <= sent <= LIMIT_S
