"""`auth.target.import.<family>`: the prerequisite of a run that only the importer can check (design §3.2)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from chatferry.common.clock import Clock
from chatferry.common.entities import FAMILIES
from chatferry.common.errors import OutageError
from chatferry.importer.ports import CallFailedError, RunsAsked, Target, Trouble

_LOOK_S = 0.3
# Together well below what the extractor waits for the answer.
_PAUSES_S = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
_BUSY = "the target asks for fewer calls all the time; ask again in a minute"


class TargetCheck:
    """Answers each run that was asked for: may its family be imported at the target?"""

    def __init__(self, target: Target, runs: RunsAsked, clock: Clock) -> None:
        self._target, self._runs, self._clock = target, runs, clock

    async def until(self, stopping: asyncio.Event) -> None:
        """Look for runs until the process is asked to stop; what is away is asked again."""
        while not stopping.is_set():
            with suppress(OutageError):
                for run, family in await self._runs.unanswered():
                    await self._runs.answer(run, *await self._check(family))
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _LOOK_S)

    async def _check(self, family: str) -> tuple[bool, str]:
        if family not in FAMILIES:
            return False, f"this importer knows no family {family}; update it"
        for pause in _PAUSES_S:
            await self._clock.sleep(pause)
            try:
                await self._target.probe(FAMILIES[family].root)
            except CallFailedError as failure:
                if failure.trouble is not Trouble.THROTTLED:
                    return False, failure.sentence
            else:
                return True, "the target lets us in"
        return False, _BUSY
