"""In front of the real target: answers late, and takes so many batches a second; the others get 429 and a time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response
from tests.chaos.proxy import TargetProxy

# What was on its way when the refusal was said cannot have known of it; another importer looks five times a second.
_IN_FLIGHT_S = 1.0


@dataclass(slots=True)
class Slowness:
    """`times`: so many times as long as the real call takes, and `least_s`."""

    times: float
    least_s: float
    batches_per_s: float
    retry_after_s: int


@dataclass(slots=True)
class Seen:
    """`early`: batches that came although they had been asked to wait."""

    taken: int = 0
    refused: int = 0
    early: int = 0


class SlowTarget(TargetProxy):
    """Fast until `slowness` is set."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "slow")
        self.seen = Seen()
        self.slowness: Slowness | None = None
        self._free_at = self._refused_at = 0.0

    async def answer(self, method: str, body: bytes) -> Response:
        slowness = self.slowness
        if slowness is None:
            return await self.pass_on(method, body)
        if method.endswith(".batch") and not self._admits(slowness):
            return Response(b"{}", 429, {"retry-after": str(slowness.retry_after_s)})
        began = time.monotonic()
        answer = await self.pass_on(method, body)
        spent = time.monotonic() - began
        await asyncio.sleep(max(slowness.least_s, spent * slowness.times) - spent)
        return answer

    def _admits(self, slowness: Slowness) -> bool:
        now = time.monotonic()
        self.seen.early += self._refused_at + _IN_FLIGHT_S < now < self._refused_at + slowness.retry_after_s - 0.05
        if now >= self._free_at:
            self._free_at = now + 1 / slowness.batches_per_s
            self.seen.taken += 1
            return True
        self._refused_at = now
        self.seen.refused += 1
        return False
