"""Composition root of the importer: `python -m chatferry.importer`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from chatferry.common.adapters.mongo import Database, mongo_outage, open_client, open_database
from chatferry.common.documents import create_indexes
from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.service import Context, Work, run_service
from chatferry.common.streaming.consumer import ConsumerSettings, RecordConsumer, open_broker
from chatferry.common.streaming.producer import RecordProducer
from chatferry.importer.adapters.considerate import ConsiderateTarget, MongoSilence
from chatferry.importer.adapters.events import KafkaEvents
from chatferry.importer.adapters.mongo_records import MongoFamilies, MongoIds, MongoRecords
from chatferry.importer.adapters.mongo_runs import MongoRunsAsked
from chatferry.importer.adapters.mongo_waiting import MongoDeadLetters, MongoParked
from chatferry.importer.adapters.partitions import check_partitions
from chatferry.importer.adapters.target import HttpSettings, HttpTarget
from chatferry.importer.caller import Caller, CallRules
from chatferry.importer.flow import Importer, Views, parents_first
from chatferry.importer.gate import Gate
from chatferry.importer.handlers import ImportWorker
from chatferry.importer.limit import PART, DeadLimit, DeadRules
from chatferry.importer.lines import Lines
from chatferry.importer.ports import Events, Target
from chatferry.importer.preflight import TargetCheck
from chatferry.importer.sending import Sender, SendRules, Surroundings
from chatferry.importer.settings import ImporterSettings
from chatferry.importer.settle import Books

_LETTER_BYTES = 1_120_000


def work(settings: ImporterSettings) -> Work:
    """The importer's work, for `run_service`. Raises ConfigurationError."""
    http = HttpSettings(
        url=settings.target(),
        ca_file=settings.target_ca_file,
        connect_s=settings.target_connect_seconds,
        answer_s=settings.target_answer_seconds,
        connections=settings.lanes + 1,
    )
    rules = SendRules(
        lanes=settings.lanes,
        batch_items=settings.items(),
        batch_bytes=settings.batch_bytes,
        retry_delays_s=settings.retry_delays_seconds,
        may_pass_dead=settings.may_pass_dead,
        dead=DeadRules(settings.dead_share_max, in_a_row=settings.dead_consecutive_max),
    )

    async def run(context: Context) -> None:
        async with AsyncExitStack() as stack:
            target = HttpTarget(http, context.clock)
            stack.push_async_callback(target.close)
            client = open_client(settings.mongodb.get_secret_value())
            stack.callback(client.close)
            database = open_database(client, settings.database)
            with mongo_outage():
                await create_indexes(database)
            results = RecordProducer(settings.kafka, client_id=f"{settings.project}.importer")
            stack.push_async_callback(results.close)
            letters = RecordProducer(
                settings.kafka, client_id=f"{settings.project}.importer.dlq", batch_bytes=_LETTER_BYTES
            )
            stack.push_async_callback(letters.close)
            events = KafkaEvents((settings.topic("results"), results), (settings.topic("dlq"), letters), context.clock)
            # Also the order in which Kafka is asked: what comes before its parent has to be parked, and all behind it.
            topics = {settings.topic(entity.name): entity for entity in parents_first(ENTITIES.values())}
            await check_partitions(results, topics, database)
            context.reached("mongodb", "kafka")
            polite = ConsiderateTarget(target, MongoSilence(database), context.clock)
            worker = build_worker(settings.project, topics, Outside(database, polite, events), rules, context)
            check = TargetCheck(polite, MongoRunsAsked(database, context.clock), context.clock)
            answering = asyncio.create_task(check.until(context.stopping), name="importer preflight")
            stack.push_async_callback(_end, answering)
            context.health.alive_when("preflight", lambda: "it has ended" if answering.done() else None)
            await consume(settings, topics, worker, context)

    return run


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@dataclass(frozen=True, slots=True)
class Outside:
    """What the worker is built on."""

    database: Database
    target: Target
    events: Events


def build_worker(
    project: str, topics: Mapping[str, Entity], outside: Outside, rules: SendRules, context: Context
) -> ImportWorker:
    """Wire the worker; it still has to be told of its runtime (`run_on`)."""
    records, parked = MongoRecords(outside.database), MongoParked(outside.database)
    dead = MongoDeadLetters(outside.database, project, context.clock)
    families = MongoFamilies(outside.database)
    caller = Caller(outside.target, families, context.clock, context.metrics, CallRules())
    lines, gate = Lines(rules.longest_delay_s()), Gate(records, dead, may_pass_dead=rules.may_pass_dead)
    limit = DeadLimit(families, rules.dead)
    books = Books(records, records, MongoIds(outside.database), parked, dead, outside.events, context.metrics, limit)
    around = Surroundings(context.clock, stopping=lambda: context.stopping.is_set() or worker.hurried())
    sender = Sender(caller, lines, rules, around)
    importer = Importer(project, topics, Views(records, parked, dead, dead), books, (sender, gate, lines))
    worker = ImportWorker(importer, caller, families, parked, topics)
    context.health.away_when(PART, worker.halted)
    context.metrics.show_nothing(
        (entity.name for entity in topics.values()), context.metrics.import_ok, context.metrics.import_err
    )
    return worker


async def consume(
    settings: ImporterSettings, topics: Mapping[str, Entity], worker: ImportWorker, context: Context
) -> None:
    """Run the worker until the service stops."""
    broker = open_broker(settings.kafka, client_id=f"{settings.project}.importer")
    consumer = RecordConsumer(
        broker,
        ConsumerSettings(
            group=settings.group("importer"),
            topics=tuple(topics),
            max_records=settings.max_records,
            drain_s=settings.drain_seconds,
        ),
        worker,
        context.clock,
        context.health,
    )
    worker.run_on(context.clock, context.metrics, consumer)
    await consumer.run(context.stopping)


def main() -> None:
    """Run the service."""
    run_service("importer", ImporterSettings, work)
