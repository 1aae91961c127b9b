"""Dead letters of the extractor, on their way to the `dlq` topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.documents import DEAD_LETTERS
from chatferry.common.streaming.records import Outgoing
from chatferry.extractor.ports import Letter

_LETTERS_BYTES = 4 * 1024 * 1024


class MongoLetters:
    """The Letters port on the project's database. `project` names the topics."""

    def __init__(self, database: Database, project: str) -> None:
        self._database, self._project = database, project

    async def uncopied_dead_letters(self, limit: int) -> list[Letter]:
        letters: list[Letter] = []
        size = 0
        with mongo_outage():
            async for doc in self._database[DEAD_LETTERS].find({"service": "extractor", "copied": False}).limit(limit):
                letters.append(Letter(doc["_id"], doc["entity"], self._copy(doc)))
                size += len(doc["raw"]["value"])
                if size > _LETTERS_BYTES:
                    break
        return letters

    async def copied(self, letters: Sequence[str], *, keep_raw: bool) -> None:
        unset = {} if keep_raw else {"$unset": {"raw": ""}}
        with mongo_outage():
            await self._database[DEAD_LETTERS].update_many(
                {"_id": {"$in": list(letters)}}, {"$set": {"copied": True}, **unset}
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
