"""Which documents have changed since, out of MongoDB's own log (a change stream).

A number of ours, given to each change, would have to be given in the order in which changes commit: by a counter that
every writer locks, and that a killed one keeps locked for a minute; or a change that commits late is passed over. The
log has that order already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chatferry.common.adapters.mongo import Database, Document, OperationFailure, Session

_CURSOR_GONE = 43
# The place is no longer in the log, or of another one: a database that was restored, a log that is too short.
_LOST = frozenset({136, 222, 260, 280, 286})
_WAIT_MS = 20


class PlaceLostError(Exception):
    """Nobody can say what has changed since: begin from all documents again."""


@dataclass(frozen=True, slots=True)
class _Cursor:
    session: Session
    id: int
    place: int


class MongoChanges:
    """Changes of one collection. A place is a number of a few hundred bits, good for every process that asks.

    `unseen`: of a change's description, what makes it none that anybody has to hear of.
    """

    def __init__(self, database: Database, collection: str, unseen: Document) -> None:
        self._database, self._collection = database, collection
        self._shape = [{"$match": {"$nor": [unseen]}}, {"$project": {"documentKey._id": 1}}]
        self._kept: _Cursor | None = None

    async def now(self) -> int:
        """The place from which on everything is told that is not there yet. Raises PyMongoError."""
        cursor = await self._begin({})
        await self._keep(cursor)
        return cursor.place

    async def after(self, place: int, most: int) -> tuple[Sequence[Any], int]:
        """Ids of the documents that have changed, each once, and the place to go on from; at most as many changes.

        What another has changed is told once a majority has it. Raises PlaceLostError, PyMongoError.
        """
        try:
            try:
                return await self._more(await self._at(place), most)
            except OperationFailure as failure:
                if failure.code != _CURSOR_GONE:
                    raise
                return await self._more(await self._at(place), most)
        except OperationFailure as failure:
            if failure.code in _LOST:
                raise PlaceLostError from failure
            raise

    async def close(self) -> None:
        """Let go of the cursor that is kept open between questions."""
        cursor, self._kept = self._kept, None
        if cursor is not None:
            await cursor.session.end_session()

    async def _at(self, place: int) -> _Cursor:
        kept, self._kept = self._kept, None
        if kept is not None and kept.place == place:
            return kept
        if kept is not None:
            await kept.session.end_session()
        return await self._begin({"resumeAfter": {"_data": f"{place:X}"}})

    async def _begin(self, where: Document) -> _Cursor:
        session = await self._database.client.start_session(causal_consistency=False)
        try:
            asked: Document = {
                "aggregate": self._collection,
                "pipeline": [{"$changeStream": where}, *self._shape],
                "cursor": {"batchSize": 0},
            }
            answer = (await self._database.command(asked, session=session))["cursor"]
        except BaseException:
            await session.end_session()
            raise
        return _Cursor(session, answer["id"], _place(answer))

    async def _more(self, cursor: _Cursor, most: int) -> tuple[Sequence[Any], int]:
        try:
            asked: Document = {
                "getMore": cursor.id,
                "collection": self._collection,
                "batchSize": most,
                "maxTimeMS": _WAIT_MS,
            }
            answer = (await self._database.command(asked, session=cursor.session))["cursor"]
        except BaseException:
            await cursor.session.end_session()
            raise
        changed = dict.fromkeys(one["documentKey"]["_id"] for one in answer["nextBatch"] if "documentKey" in one)
        if not answer["id"]:
            # The collection was dropped.
            await cursor.session.end_session()
            raise PlaceLostError
        here = _Cursor(cursor.session, answer["id"], _place(answer))
        await self._keep(here)
        return list(changed), here.place

    async def _keep(self, cursor: _Cursor) -> None:
        before, self._kept = self._kept, cursor
        if before is not None:
            await before.session.end_session()


def _place(answer: Document) -> int:
    return int(answer["postBatchResumeToken"]["_data"], 16)
