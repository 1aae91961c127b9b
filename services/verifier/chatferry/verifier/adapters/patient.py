"""A target that is waited for: an outage is no mismatch, and one call that fails alone is no outage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from chatferry.common.clock import Clock
from chatferry.common.entities import Entity
from chatferry.common.errors import OutageError
from chatferry.common.health import Health
from chatferry.common.telemetry.logs import get_logger
from chatferry.verifier.domain.errors import ReadBackError
from chatferry.verifier.domain.lines import TargetItem
from chatferry.verifier.ports import Target, TargetPage

log = get_logger(__name__)
T = TypeVar("T")
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 5.0
_ALONE_TIMES = 3


class PatientTarget:
    """The Target port over another one. A call that fails three times while a small count works ends as unusable.

    A pause that the target asks for holds for all calls of this process, a probe too.
    """

    def __init__(self, target: Target, clock: Clock, health: Health) -> None:
        self._target, self._clock, self._health = target, clock, health
        self._silent_until = 0.0

    async def page(self, entity: Entity, parent: str | None, after: str | None) -> TargetPage:
        return await self._outlast(entity, "list", lambda: self._target.page(entity, parent, after))

    async def get(self, entity: Entity, keys: Sequence[str]) -> dict[str, TargetItem]:
        return await self._outlast(entity, "get", lambda: self._target.get(entity, keys))

    async def count(self, entity: Entity, parent: str | None = None) -> int:
        return await self._outlast(entity, "count", lambda: self._target.count(entity, parent))

    async def _outlast(self, entity: Entity, method: str, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._until_answered(entity, method, call)
        except asyncio.CancelledError:
            # Nobody waits for it here any more; another call that does says so again.
            self._health.outage("target", None)
            raise

    async def _until_answered(self, entity: Entity, method: str, call: Callable[[], Awaitable[T]]) -> T:
        alone, wait = 0, _FIRST_WAIT_S
        while True:
            await self._keep_silent()
            try:
                answer = await call()
            except OutageError as away:
                if away.retry_after_s:
                    self._silent_until = max(self._silent_until, self._clock.monotonic() + away.retry_after_s)
                    self._say_away(away)
                    alone = 0
                    continue
                alone = alone + 1 if await self._answers(entity) else 0
                if alone >= _ALONE_TIMES:
                    raise ReadBackError(
                        f"the target fails to {method} {entity.name} again and again, while it answers a count"
                    ) from away
                await self._clock.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT_S)
            else:
                self._health.outage("target", None)
                return answer

    async def _keep_silent(self) -> None:
        while (left_s := self._silent_until - self._clock.monotonic()) > 0:
            await self._clock.sleep(left_s)

    async def _answers(self, entity: Entity) -> bool:
        """A small probe; what it finds is what /readyz says."""
        await self._keep_silent()
        try:
            await self._target.count(entity)
        except OutageError as still:
            self._say_away(still)
            return False
        except ReadBackError:
            return True
        self._health.outage("target", None)
        return True

    def _say_away(self, away: OutageError) -> None:
        if "target" not in self._health.outages:
            log.warning("outage", part="target")
        self._health.outage("target", away.sentence)
