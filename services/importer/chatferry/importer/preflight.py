"""`auth.target.import.<family>`: the prerequisite of a run that only the importer can check (design §3.2)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from chatferry.common.entities import FAMILIES
from chatferry.common.errors import OutageError
from chatferry.importer.ports import CallFailedError, RunsAsked, Target

_LOOK_S = 0.3


class TargetCheck:
    """Answers each run that was asked for: may its family be imported at the target?"""

    def __init__(self, target: Target, runs: RunsAsked) -> None:
        self._target, self._runs = target, runs

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
        try:
            await self._target.probe(FAMILIES[family].root)
        except CallFailedError as failure:
            return False, failure.sentence
        return True, "the target lets us in"
