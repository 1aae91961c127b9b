"""Mismatches, verdicts and reports in the project's database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import asdict
from typing import Any

from chatferry.common.adapters.mongo import (
    Database,
    Document,
    DuplicateKeyError,
    UpdateOne,
    mongo_outage,
)
from chatferry.common.clock import Clock
from chatferry.common.documents import MISMATCHES, VERIFY_REPORTS, VERIFY_VERDICTS
from chatferry.common.entities import Entity
from chatferry.verifier.domain.comparison import Fingerprint, Tally
from chatferry.verifier.domain.facts import Mismatch, Run, Verdict

_LAST_CHECKS = ("walk", "gap", "count", "ledger", "pages", "sample")
_WRITES_AT_ONCE = 500


class MongoFindings:
    """The Findings port, for one report."""

    def __init__(self, database: Database, report: str, clock: Clock) -> None:
        self._mismatches, self._report, self._clock = database[MISMATCHES], report, clock

    async def begin(self, entity: Entity, parent: str | None) -> None:
        with mongo_outage():
            await self._mismatches.delete_many({"_id": _prefix(self._below(entity.name, parent))})

    async def add(self, mismatches: Sequence[Mismatch]) -> None:
        now = self._clock.now()
        for start in range(0, len(mismatches), _WRITES_AT_ONCE):
            writes = [self._upsert(one, now) for one in mismatches[start : start + _WRITES_AT_ONCE]]
            with mongo_outage():
                await self._mismatches.bulk_write(writes, ordered=False)

    def _below(self, entity: str, parent: str | None) -> str:
        """What the ids of one comparison's mismatches begin with, so that they lie side by side in the index."""
        return f"{self._report}/{entity}/{parent or ''}/"

    def _upsert(self, one: Mismatch, now: Any) -> UpdateOne:
        document = {"report": self._report, **asdict(one), "at": now}
        name = f"{self._below(one.entity, one.parent)}{one.key}/{one.check}/{one.field}"
        return UpdateOne({"_id": name}, {"$setOnInsert": document}, upsert=True)


class MongoVerdicts:
    """The Verdicts port, for one request of a run."""

    def __init__(self, database: Database, run: Run, clock: Clock) -> None:
        self._verdicts, self._run, self._clock = database[VERIFY_VERDICTS], run, clock

    async def keep(self, verdict: Verdict) -> None:
        document = {**asdict(verdict), **self._request(), "at": self._clock.now()}
        with mongo_outage():
            await self._verdicts.replace_one({"_id": self._id(verdict.entity, verdict.key)}, document, upsert=True)

    async def known(self, entity: Entity, parents: Collection[str]) -> dict[str, Verdict]:
        query = {"_id": {"$in": [self._id(entity.name, parent) for parent in parents]}, **self._request()}
        with mongo_outage():
            return {row["key"]: _verdict(row) async for row in self._verdicts.find(query)}

    async def samples(self, entity: Entity) -> AsyncIterator[Sequence[str]]:
        query = {"_id": _prefix(self._id(entity.name, "")), "sample.0": {"$exists": True}, **self._request()}
        with mongo_outage():
            async for row in self._verdicts.find(query, {"sample": 1}):
                yield row["sample"]

    def _id(self, entity: str, key: str) -> str:
        return f"{self._run.id}/{entity}/{key}"

    def _request(self) -> Document:
        return {"asked_at": self._run.asked_at}


class MongoReports:
    """The Reports port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, run: Run) -> str | None:
        reports = self._database[VERIFY_REPORTS]
        with mongo_outage():
            written = [row async for row in reports.find({"run": run.id}, {"asked_at": 1})]
            if any(row["asked_at"] == run.asked_at for row in written):
                return None
            report = f"{run.id}:{len(written) + 1}" if written else run.id
            await self._database[MISMATCHES].delete_many({"report": report, "check": {"$in": list(_LAST_CHECKS)}})
            before = {"_id": _prefix(f"{run.id}/"), "asked_at": {"$ne": run.asked_at}}
            await self._database[VERIFY_VERDICTS].delete_many(before)
        return report

    async def mismatches(self, report: str, limit: int) -> tuple[list[dict[str, Any]], dict[str, int]]:
        rows = self._database[MISMATCHES]
        group = {"_id": "$check", "n": {"$sum": 1}}
        shown = {"_id": 0, "report": 0, "at": 0}
        with mongo_outage():
            counts = {
                row["_id"]: row["n"]
                async for row in rows.aggregate([{"$match": {"report": report}}, {"$group": group}])
            }
            first = await rows.find({"_id": _prefix(f"{report}/")}, shown).sort("_id", 1).limit(limit).to_list(limit)
        return first, counts

    async def names(self, entity: Entity, keys: Collection[str]) -> dict[str, str]:
        query = {"_id": {"$in": list(keys)}, "payload.title": {"$type": "string"}}
        with mongo_outage():
            found = self._database[entity.name].find(query, {"payload.title": 1})
            return {row["_id"]: row["payload"]["title"] async for row in found}

    async def save(self, report: dict[str, Any]) -> None:
        with mongo_outage():
            try:
                await self._database[VERIFY_REPORTS].insert_one(report)
            except DuplicateKeyError:
                return


def _prefix(start: str) -> Document:
    return {"$gte": start, "$lt": f"{start}\uffff"}


def _verdict(row: Document) -> Verdict:
    return Verdict(
        entity=row["entity"],
        key=row["key"],
        tally=Tally(**row["tally"]),
        fingerprint=Fingerprint(**row["fingerprint"]),
        users=row["users"],
        unmapped=row["unmapped"],
        altered=tuple(row["altered"]),
        altered_total=row["altered_total"],
        sample=tuple(row["sample"]),
        unreadable=row["unreadable"],
        different_users=row["different_users"],
    )
