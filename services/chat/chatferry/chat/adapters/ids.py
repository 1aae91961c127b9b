"""Target ids: numbers from a counter document, taken a block at a time. A crash leaves holes, never a double."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from chatferry.chat.domain.items import Kind, TargetId
from chatferry.common.adapters.mongo import Database, ReturnDocument, mongo_outage


class MongoIds:
    """`ports.Ids`. Any number of processes may take from the same counters."""

    def __init__(self, database: Database, block: int) -> None:
        self._counters = database["counters"]
        self._block = block
        self._left: dict[str, range] = {}
        self._refill = asyncio.Lock()

    async def take(self, kind: Kind, count: int) -> Sequence[TargetId]:
        name = kind.shape.collection
        async with self._refill:
            left = self._left.get(name, range(0))
            if len(left) < count:
                # What is left of the old block is dropped: ids of one batch stay together.
                left = await self._new_block(name, max(self._block, count))
            self._left[name] = left[count:]
        return [TargetId(number) for number in left[:count]]

    async def _new_block(self, name: str, size: int) -> range:
        with mongo_outage():
            counter = await self._counters.find_one_and_update(
                {"_id": name}, {"$inc": {"last": size}}, upsert=True, return_document=ReturnDocument.AFTER
            )
        return range(counter["last"] - size + 1, counter["last"] + 1)
