"""What a target asks of one importer holds for all: 429, or Retry-After on any refusal, silences every replica."""

from __future__ import annotations

from collections.abc import Sequence

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.clock import Clock
from chatferry.common.contracts.target import ItemResult
from chatferry.common.documents import ENTITY_STATES
from chatferry.common.entities import Entity
from chatferry.importer.domain.records import ImportRecord
from chatferry.importer.ports import CallFailedError, Silence, Target, Trouble

_TARGET = "target"
_FRESH_S = 0.2
_SENTENCE = "the target asked for a pause; work goes on when it is over"


class MongoSilence:
    """Port `Silence`: a moment on MongoDB's clock, which all replicas share."""

    def __init__(self, database: Database) -> None:
        self._states = database[ENTITY_STATES]

    async def ask(self, seconds: float) -> None:
        until = {"$add": ["$$NOW", int(seconds * 1000)]}
        with mongo_outage():
            change = [{"$set": {"quiet_until": {"$max": ["$quiet_until", until]}}}]
            await self._states.update_one({"_id": _TARGET}, change, upsert=True)

    async def left_s(self) -> float:
        left = {"left": {"$subtract": ["$quiet_until", "$$NOW"]}}
        with mongo_outage():
            found = await self._states.find_one({"_id": _TARGET}, left)
        return max(0.0, float((found or {}).get("left", 0)) / 1000)


class ConsiderateTarget:
    """Port `Target` in front of another one: no call is begun while any replica was asked to wait.

    `_FRESH_S`: how late another replica's pause may be noticed; calls under way come back as they will.
    """

    def __init__(self, target: Target, silence: Silence, clock: Clock) -> None:
        self._target, self._silence, self._clock = target, silence, clock
        self._asked = self._until = clock.monotonic() - _FRESH_S

    async def send(self, entity: Entity, records: Sequence[ImportRecord]) -> list[ItemResult]:
        await self._wait_for_leave()
        try:
            return await self._target.send(entity, records)
        except CallFailedError as failed:
            await self._keep_quiet(failed)
            raise

    async def probe(self, entity: Entity) -> None:
        await self._wait_for_leave()
        try:
            await self._target.probe(entity)
        except CallFailedError as failed:
            await self._keep_quiet(failed)
            raise

    async def _wait_for_leave(self) -> None:
        now = self._clock.monotonic()
        if now - self._asked >= _FRESH_S:
            left = await self._silence.left_s()
            self._asked = now
            if left > 0:
                # A lane may have been told to wait for longer while this one asked.
                self._until = max(self._until, now + left)
            now = self._clock.monotonic()
        if self._until > now:
            raise CallFailedError(Trouble.THROTTLED, "target.quiet", _SENTENCE, self._until - now)

    async def _keep_quiet(self, failed: CallFailedError) -> None:
        if failed.retry_after_s:
            self._until = max(self._until, self._clock.monotonic() + failed.retry_after_s)
            await self._silence.ask(failed.retry_after_s)
