"""`<family>.verify.completed` on the project's `runs` topic, once per report at least."""

from __future__ import annotations

from chatferry.common.adapters.mongo import Database, Document, mongo_outage
from chatferry.common.clock import Clock
from chatferry.common.contracts.envelope import common_headers
from chatferry.common.contracts.events import PhaseCompleted
from chatferry.common.documents import VERIFY_REPORTS
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing


class KafkaAnnouncer:
    """The Announcer port. A report is marked after the broker has answered; a crash between sends the event again."""

    def __init__(self, database: Database, producer: RecordProducer, topic: str, clock: Clock) -> None:
        self._reports, self._producer, self._topic, self._clock = database[VERIFY_REPORTS], producer, topic, clock

    async def announce(self) -> None:
        with mongo_outage():
            waiting = [row async for row in self._reports.find({"announced": False})]
        for row in waiting:
            await self._producer.send([self._event(row)])
            with mongo_outage():
                await self._reports.update_one({"_id": row["_id"]}, {"$set": {"announced": True}})

    def _event(self, row: Document) -> Outgoing:
        kind = f"{row['family']}.verify.completed"
        event = PhaseCompleted(
            run=row["run"],
            family=row["family"],
            phase="verify",
            finished_at=row["finished_at"],
            counts=row["counts"],
            verified=row["verified"],
        )
        headers = (
            ("ce_id", f"{row['_id']}/{kind}".encode()),
            ("ce_type", kind.encode()),
            ("ce_subject", str(row["run"]).encode()),
            *common_headers(f"/chatferry/{row['project']}", self._clock.now(), None),
        )
        return Outgoing(self._topic, str(row["run"]).encode(), event.model_dump_json().encode(), headers)
