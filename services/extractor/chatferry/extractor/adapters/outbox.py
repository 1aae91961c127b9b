"""The outbox: records that are due, cleared only after the broker's answer and only for the version that was sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from chatferry.common.adapters.mongo import Database, UpdateMany, mongo_outage
from chatferry.common.contracts.canonical import canonical_json
from chatferry.common.documents import DEAD_LETTERS, INVENTORY
from chatferry.common.entities import Entity
from chatferry.common.streaming.records import Outgoing
from chatferry.extractor.adapters.inventory import ENDED
from chatferry.extractor.ports import Due

_CHUNK_BYTES = 8 * 1024 * 1024
_PAYLOAD = {"payload": 1, "version": 1, "seq": 1, "parent": 1}


class MongoOutbox:
    """The Outbox port on the project's database. `project` names the topics."""

    def __init__(self, database: Database, project: str) -> None:
        self._database, self._project = database, project

    async def due(self, entity: Entity, parents: Sequence[int] | None, limit: int) -> list[Due]:
        query: dict[str, Any] = {"due": True}
        if parents is not None:
            query["parent"] = {"$in": list(parents)}
        elif entity.parent is not None:
            query["parent"] = {"$nin": await self._still_walking(entity.parent)}
        return await self._find(entity, query, limit)

    async def _still_walking(self, parent: str) -> list[int]:
        """Roots that are being read: their oldest records are still to come, and go first."""
        unread = {"kind": "root", "entity": parent, "state": {"$nin": list(ENDED)}}
        with mongo_outage():
            return [row["seq"] async for row in self._database[INVENTORY].find(unread, {"seq": 1})]

    async def due_roots(self, entity: Entity, ids: Sequence[int]) -> list[Due]:
        return await self._find(entity, {"due": True, "parent": None, "seq": {"$in": list(ids)}}, len(ids))

    async def _find(self, entity: Entity, query: dict[str, Any], limit: int) -> list[Due]:
        found: list[Due] = []
        size = 0
        with mongo_outage():
            cursor = self._database[entity.name].find(query, _PAYLOAD).sort([("parent", 1), ("seq", 1)]).limit(limit)
            async for doc in cursor:
                body = canonical_json(doc["payload"])
                found.append(Due(entity, doc["_id"], doc["version"], doc["seq"], doc["parent"], body))
                size += len(body)
                if size > _CHUNK_BYTES:
                    break
        return found

    async def answered(self, entity: Entity, records: Sequence[Due]) -> None:
        by_version: dict[int, list[str]] = defaultdict(list)
        for record in records:
            by_version[record.version].append(record.key)
        updates = [
            UpdateMany({"_id": {"$in": keys}, "version": version}, {"$unset": {"due": ""}})
            for version, keys in by_version.items()
        ]
        if updates:
            with mongo_outage():
                await self._database[entity.name].bulk_write(updates, ordered=False)

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
