"""Runs as an operator sees them: asked for, followed, read."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chatferry.common.adapters.mongo import Client, Database, mongo_outage, open_client, open_database
from chatferry.common.contracts.envelope import common_headers, event_source
from chatferry.common.contracts.events import PHASES, Phase, RunRequested, RunStopped
from chatferry.common.counts import Count, count_all
from chatferry.common.documents import ENTITY_STATES, RUNS, VERIFY_REPORTS
from chatferry.common.entities import FAMILIES, Family
from chatferry.common.errors import FatalError
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing
from chatferry.operator.folder import Project

UNDER_WAY = ("requested", "running")


@dataclass(frozen=True, slots=True)
class Options:
    """What may be asked of a run."""

    phases: Sequence[Phase] = PHASES
    test_limit: int | None = None
    max_rate: float | None = None
    anew: bool = False
    """Not what is left of a stopped run: all of it, from the beginning."""
    republish: str | None = None
    """An entity whose records are sent again; the phases are none then."""

    def stored(self) -> dict[str, Any]:
        """As the run's document has them, beside its phases."""
        again = {} if self.republish is None else {"republish": self.republish}
        return {"test_limit": self.test_limit, "max_rate": self.max_rate, **again}


class Store:
    """The project's database, for reading runs and asking for new ones."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._client: Client = open_client(project.mongodb)
        self.database: Database = open_database(self._client, project.database)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    async def ask(self, family: str, options: Options) -> str:
        """Write a run and wake the extractors. Raises FatalError when one is under way already.

        A run that an operator stopped goes on where it stood, if the same is asked for and no other came after it.
        Asking for a set takes back the halt of too many dead letters: who asks has seen to their cause.
        """
        with mongo_outage():
            other = await self.database[RUNS].find_one({"state": {"$in": list(UNDER_WAY)}})
        if other is not None:
            raise FatalError(
                "run.under_way",
                f"run {other['_id']} is under way in project {self.project.name};"
                " wait for it (`chatferry status --watch`)",
            )
        now = datetime.now(UTC)
        stopped = None if options.anew else await self._stopped(family, options)
        if stopped is not None:
            await self._let_deliver(family, options)
            await self._resume(stopped, options)
            await self._wake(stopped, family, now)
            return stopped
        run = f"{family}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        document = {
            "_id": run,
            "project": self.project.name,
            "portal": self.project.portal_host,
            "family": family,
            "phases": list(options.phases),
            "options": options.stored(),
            "state": "requested",
            "requested_at": now,
            "epoch": None,
        }
        await self._let_deliver(family, options)
        with mongo_outage():
            await self.database[RUNS].insert_one(document)
        await self._wake(run, family, now)
        return run

    async def _let_deliver(self, family: str, options: Options) -> None:
        delivered = [family, *family_named(family).needs] if "set" in options.phases else []
        with mongo_outage():
            await self.database[ENTITY_STATES].update_many({"_id": {"$in": delivered}}, {"$unset": {"halted": ""}})

    async def _stopped(self, family: str, options: Options) -> str | None:
        """The family's newest run, if it was stopped and was asked for the same; it may be read at another pace."""
        with mongo_outage():
            newest = self.database[RUNS].find({"family": family}).sort("requested_at", -1).limit(1)
            for run in await newest.to_list(1):
                same = (list(options.phases), options.test_limit) == (run["phases"], run["options"].get("test_limit"))
                return str(run["_id"]) if same and run["state"] == "stopped" else None
        return None

    async def _resume(self, run: str, options: Options) -> None:
        """Asked for again: its prerequisites and the verification too; what else it has reached stays.

        A report that was finished before the stop was heard says what the target had then.
        """
        again = {"state": "requested", "options.max_rate": options.max_rate, "resumed_at": datetime.now(UTC)}
        over = {"stop": "", "reason": "", "finished_at": "", "target_check": "", "timings.verify": ""}
        with mongo_outage():
            await self.database[RUNS].update_one({"_id": run, "state": "stopped"}, {"$set": again, "$unset": over})

    async def _wake(self, run: str, family: str, now: datetime) -> None:
        event = RunRequested(run=run, family=family, requested_at=now)
        await self.tell("run.requested", f"{run}/requested/{now:%Y%m%dT%H%M%S.%f}", event)

    async def tell(self, kind: str, ce_id: str, event: RunRequested | RunStopped) -> None:
        """Send a command to whoever drives runs. OutageError."""
        producer = RecordProducer(self.project.kafka, client_id=f"{self.project.name}.operator")
        source = event_source(self.project.name, self.project.portal_host)
        headers = (
            ("ce_id", ce_id.encode()),
            ("ce_type", kind.encode()),
            ("ce_subject", event.run.encode()),
            *common_headers(source, datetime.now(UTC), None),
        )
        body = event.model_dump_json().encode()
        try:
            await producer.send([Outgoing(f"{self.project.name}.commands", event.run.encode(), body, headers)])
        finally:
            await producer.close()

    async def run(self, run: str) -> dict[str, Any]:
        """The run's document."""
        with mongo_outage():
            return await self.database[RUNS].find_one({"_id": run}) or {}

    async def runs(self, limit: int = 20) -> list[dict[str, Any]]:
        """The newest runs, newest first."""
        with mongo_outage():
            return [doc async for doc in self.database[RUNS].find().sort("requested_at", -1).limit(limit)]

    async def report(self, run: str) -> dict[str, Any] | None:
        """The report that the run has asked for last. A run that was stopped may have one of before."""
        asked = ((await self.run(run)).get("timings") or {}).get("verify") or {}
        with mongo_outage():
            return await self.database[VERIFY_REPORTS].find_one({"run": run, "asked_at": asked.get("started_at")})

    async def counts(self, family: Family, run: str) -> list[Count]:
        """How far each entity is, cheaply."""
        return await count_all(self.database, family, run)


def family_named(name: str) -> Family:
    """Raises FatalError with the names there are."""
    family = FAMILIES.get(name)
    if family is None:
        raise FatalError("family.unknown", f"there is no family {name!r}; there are: {', '.join(FAMILIES)}")
    return family
