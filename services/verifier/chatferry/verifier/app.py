"""The composition root: `python -m chatferry.verifier`."""

from __future__ import annotations

import gc
from uuid import uuid4

from chatferry.common.adapters.mongo import Database, open_client, open_database
from chatferry.common.service import Context, Work, run_service
from chatferry.common.streaming.producer import RecordProducer
from chatferry.verifier.adapters.announcer import KafkaAnnouncer
from chatferry.verifier.adapters.findings import MongoFindings, MongoReports, MongoVerdicts
from chatferry.verifier.adapters.meter import PrometheusMeter
from chatferry.verifier.adapters.mongo import MongoRecords, MongoSource
from chatferry.verifier.adapters.patient import PatientTarget
from chatferry.verifier.adapters.readings import MongoReadings
from chatferry.verifier.adapters.runs import MongoLeases, MongoRuns
from chatferry.verifier.adapters.target import HttpTarget, TargetAddress, open_http
from chatferry.verifier.domain.facts import Run
from chatferry.verifier.flow import Parts, Rules, Verification
from chatferry.verifier.handlers import Desk, Watch
from chatferry.verifier.ports import Target
from chatferry.verifier.settings import VerifierSettings


def work(settings: VerifierSettings) -> Work:
    """The verifier's work, until it is asked to stop. Raises ConfigurationError and OutageError."""

    async def verify(context: Context) -> None:
        gc.freeze()  # modules and schemas are no garbage: without this each full collection walks them all
        client = open_client(settings.mongodb.get_secret_value())
        http = open_http(_address(settings))
        producer = RecordProducer(settings.kafka, client_id=settings.group("verifier"))
        try:
            page = settings.verify_page
            http_target = HttpTarget(http, settings.target(), page, context.metrics, context.clock)
            target = PatientTarget(http_target, context.clock, context.health)
            watch = build_watch(settings, open_database(client, settings.database), target, producer, context)
            await watch.until(context.stopping)
        finally:
            await producer.close()
            await http.aclose()
            client.close()

    return verify


def build_watch(
    settings: VerifierSettings, database: Database, target: Target, producer: RecordProducer, context: Context
) -> Watch:
    """All parts put together."""
    runs, reports = MongoRuns(database), MongoReports(database)
    rules = Rules(settings.verify_sample, settings.verify_seed, settings.verify_parallel)
    meter = PrometheusMeter(context.metrics)

    def begin(run: Run, report: str) -> Verification:
        parts = Parts(
            runs=runs,
            records=MongoRecords(database),
            source=MongoSource(database),
            readings=MongoReadings(database),
            target=target,
            findings=MongoFindings(database, report, context.clock),
            verdicts=MongoVerdicts(database, run, context.clock),
            reports=reports,
            meter=meter,
            clock=context.clock,
        )
        return Verification(run, report, parts, rules)

    desk = Desk(
        runs=runs,
        leases=MongoLeases(database, uuid4().hex, settings.verify_lease_seconds),
        reports=reports,
        announcer=KafkaAnnouncer(database, producer, settings.topic("runs"), context.clock),
        clock=context.clock,
        health=context.health,
        begin=begin,
    )
    return Watch(desk, settings.verify_poll_seconds, settings.verify_lease_seconds)


def _address(settings: VerifierSettings) -> TargetAddress:
    return TargetAddress(
        url=settings.target(),
        ca_file=settings.target_ca_file,
        timeout_s=settings.target_timeout_seconds,
        lanes=settings.verify_parallel,
    )


def main() -> None:
    """Run the verifier until it is asked to stop."""
    run_service("verifier", VerifierSettings, work)
