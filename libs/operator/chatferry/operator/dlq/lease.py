"""One command at a time moves dead letters.

Two replays would send the same chunks, and each would count what the other one moved. A discard beside a replay would
skip a record, and all that waits for it, which arrives after all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from chatferry.common.adapters.mongo import Database, Document, DuplicateKeyError, mongo_outage
from chatferry.common.clock import Clock
from chatferry.common.documents import LEASES
from chatferry.common.errors import FatalError, OutageError

T = TypeVar("T")
_ID = "dlq:replay"
_LASTS_MS = 5_000
_RENEWED_EVERY_S, _LOOK_S = 1.0, 0.25


class LetterLease:
    """`leases`: `_id` = `dlq:replay`, owner, until; MongoDB's own clock decides. `kind`: replay or discard; `name`: of
    this one, which begins with its kind.

    One that was killed keeps it for five seconds.
    """

    def __init__(self, database: Database, kind: str, name: str, clock: Clock) -> None:
        self._leases, self._kind, self._name, self._clock = database[LEASES], kind, name, clock
        self._kept: list[Document] = [
            {"$set": {"owner": name, "until": {"$add": ["$$NOW", _LASTS_MS]}}},
        ]

    async def alone(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work while nobody else moves any. Raises FatalError, before it or in between, when somebody does."""
        await self._take()
        keeping, working = asyncio.create_task(self._keep()), asyncio.ensure_future(work())
        try:
            await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await keeping
            return await working
        finally:
            for task in (keeping, working):
                task.cancel()
            await asyncio.gather(keeping, working, return_exceptions=True)
            # It runs out by itself.
            with suppress(OutageError):
                await self._release()

    async def _take(self) -> None:
        """Waits where the holder may be dead: one that lives renews it meanwhile."""
        seen: datetime | None = None
        while not await self._took():
            with mongo_outage():
                row = await self._leases.find_one({"_id": _ID})
            if row is not None and row["until"] != (seen := seen or row["until"]):
                raise FatalError("dlq.under_way", f"{self._called(row['owner'])}: wait for its end, then ask again")
            await self._clock.sleep(_LOOK_S)

    def _called(self, owner: str) -> str:
        kind = owner.partition("-")[0]
        return f"{'another' if kind == self._kind else 'a'} {kind} is under way ({owner})"

    async def _took(self) -> bool:
        over = {"_id": _ID, "$expr": {"$lt": ["$until", "$$NOW"]}}
        with mongo_outage():
            if (await self._leases.update_one(over, self._kept)).matched_count:
                return True
            with suppress(DuplicateKeyError):
                mine = {"_id": _ID, "owner": self._name}
                return (await self._leases.update_one(mine, self._kept, upsert=True)).upserted_id is not None
        return False

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(_RENEWED_EVERY_S)
            with mongo_outage():
                renewed = await self._leases.update_one({"_id": _ID, "owner": self._name}, self._kept)
            if not renewed.matched_count:
                raise FatalError(
                    "dlq.taken_over",
                    f"another command has taken its turn before this {self._kind} ended; nothing is lost: ask again",
                )

    async def _release(self) -> None:
        with mongo_outage():
            await self._leases.delete_one({"_id": _ID, "owner": self._name})
