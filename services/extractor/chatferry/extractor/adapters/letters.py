"""Dead letters of the extractor, on their way to the `dlq` topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.documents import DEAD_LETTERS
from chatferry.common.streaming.records import Outgoing


class MongoLetters:
    """The Letters port on the project's database. `project` names the topics."""

    def __init__(self, database: Database, project: str) -> None:
        self._database, self._project = database, project

    async def uncopied_dead_letters(self, limit: int) -> list[tuple[str, Outgoing]]:
        with mongo_outage():
            found = self._database[DEAD_LETTERS].find({"service": "extractor", "copied": False}).limit(limit)
            return [(doc["_id"], self._copy(doc)) async for doc in found]

    async def copied(self, letters: Sequence[str]) -> None:
        """The broker has the copies: the raw forms need not be kept twice."""
        with mongo_outage():
            await self._database[DEAD_LETTERS].update_many(
                {"_id": {"$in": list(letters)}}, {"$set": {"copied": True}, "$unset": {"raw": ""}}
            )

    def _copy(self, doc: dict[str, Any]) -> Outgoing:
        headers = (
            ("dlq-id", doc["_id"].encode()),
            ("dlq-topic", f"{self._project}.{doc['entity']}".encode()),
            ("dlq-key", doc["key"].encode()),
            ("dlq-error-class", doc["error_class"].encode()),
            ("dlq-code", str(doc["code"]).encode()),
            ("dlq-message", doc["message"].encode()),
            ("dlq-attempts", b"0"),
            ("dlq-time", doc["at"].isoformat().encode()),
        )
        owner = doc["parent"] if doc["parent"] is not None else doc["seq"]
        return Outgoing(f"{self._project}.dlq", str(owner).encode(), doc["raw"]["value"], headers)
