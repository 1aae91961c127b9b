"""What goes on beside a run's story: it is told how far the run is, and a word to stop is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chatferry.common.contracts.events import Phase, RunProgress
from chatferry.common.entities import Family
from chatferry.extractor.ports import Events, Runs, Tally
from chatferry.extractor.steps.context import Drive, outlast

TELL_EVERY_S = 5.0
_LISTEN_EVERY_S, _PATIENCE_S = 1.0, 15.0
_MOST_SHARE = 0.05
Stage = Callable[[], tuple[Phase | None, str]]
"""The phase under way, and the run's state."""


@dataclass(frozen=True, slots=True)
class Company:
    """For one driven run. `count`: writes down what the story has counted since the last time."""

    family: Family
    drive: Drive
    runs: Runs
    tally: Tally
    events: Events
    stage: Stage
    count: Callable[[], Awaitable[None]]

    async def tell(self, last: datetime | None) -> None:
        """Until it is cancelled: at most one event in five seconds, of whichever process; less often where it costs."""
        clock = self.drive.clock
        if last is not None:
            await clock.sleep(max(0.0, TELL_EVERY_S - (clock.now() - last).total_seconds()))
        while True:
            begun = clock.monotonic()
            await outlast(self.drive, self._tell_once)
            spent = clock.monotonic() - begun
            await clock.sleep(max(TELL_EVERY_S, spent / _MOST_SHARE))

    async def _tell_once(self) -> None:
        run = self.drive.run
        await self.count()
        counts = await self.tally.counts(self.family, run)
        (phase, state), now = self.stage(), self.drive.clock.now()
        # Before it is sent: whoever takes the run over does not send the next one too soon.
        await self.runs.update(run, self.drive.lease.epoch, {"progress_at": now})
        event = RunProgress(run=run, family=self.family.name, phase=phase, state=state, at=now, counts=counts)
        await self.events.progress(event)

    async def listen(self, story: asyncio.Task[Any]) -> None:
        """Let the story come to a safe point when an operator has asked for the end; one that cannot is cut off.

        Cutting off loses nothing: it is as if the process had been killed there.
        """
        while True:
            document = await outlast(self.drive, lambda: self.runs.get(self.drive.run))
            if document.get("stop"):
                self.drive.halt.set()
                await asyncio.wait([story], timeout=_PATIENCE_S)
                story.cancel()
                return
            await self.drive.clock.sleep(_LISTEN_EVERY_S)
