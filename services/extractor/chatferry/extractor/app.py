"""Composition root of the extractor."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import httpx
from redis.asyncio import Redis

from chatferry.common.adapters.http import ON_THIS_MACHINE
from chatferry.common.adapters.mongo import Client, Database, open_client, open_database
from chatferry.common.adapters.redis import check_redis_url
from chatferry.common.clock import Clock
from chatferry.common.documents import create_indexes
from chatferry.common.entities import ENTITIES
from chatferry.common.errors import ConfigurationError, OutageError
from chatferry.common.portal.bucket import RedisRateBucket
from chatferry.common.portal.client import PortalClient, PortalSettings
from chatferry.common.service import Context, Work, run_service
from chatferry.common.storage import StorageChecks
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.wakeup import wake_on
from chatferry.extractor.adapters.backlog import KafkaBacklog
from chatferry.extractor.adapters.events import RunEvents
from chatferry.extractor.adapters.inventory import MongoInventory
from chatferry.extractor.adapters.letters import MongoLetters
from chatferry.extractor.adapters.listings import MongoListings
from chatferry.extractor.adapters.outbox import MongoOutbox
from chatferry.extractor.adapters.progress import MongoProgress, MongoTally
from chatferry.extractor.adapters.records import MongoRecords
from chatferry.extractor.adapters.roots import MongoRoots
from chatferry.extractor.adapters.runs import MongoLeases, MongoRuns
from chatferry.extractor.adapters.strangers import MongoStrangers
from chatferry.extractor.handlers import Driver, Workshop
from chatferry.extractor.settings import ExtractorSettings
from chatferry.extractor.steps.context import Limits, first_of
from chatferry.extractor.steps.parts import Parts
from chatferry.extractor.steps.publisher import Store

# A record with its key and headers fits one batch (ExtractorSettings.record_bytes_max), and a batch the topic.
_BATCH_BYTES, _LETTER_BYTES = 1_000_000, 1_120_000
_LISTEN_AGAIN_S = 2.0


def work(settings: ExtractorSettings) -> Work:
    """Everything wired; the webhooks are read once, so that a wrong one ends the process at its start, as the URL of
    Redis does of which no client can be made."""
    webhooks, verify = settings.webhooks(), portal_trust(settings)
    check_redis_url(settings.redis.get_secret_value())

    async def drive(context: Context) -> None:
        async with AsyncExitStack() as stack:
            outside = _outside(settings, stack)
            http = httpx.AsyncClient(verify=verify, limits=httpx.Limits(max_connections=32), mounts=ON_THIS_MACHINE)
            await stack.enter_async_context(http)
            rng = random.Random()  # noqa: S311 - jitter
            bucket = RedisRateBucket(outside.redis, webhooks[0].host, settings.limits(), context.clock, rng)

            def portal(limited: RedisRateBucket) -> PortalClient:
                client = PortalClient(webhooks, http, limited, context.clock, context.metrics)
                return client.with_settings(PortalSettings(settings.limits(), settings.portal_timeout_seconds))

            shop = Workshop(
                leases=MongoLeases(outside.database, _owner(context.clock), settings.lease_seconds),
                runs=MongoRuns(outside.database),
                portal=portal,
                bucket=bucket,
                parts=lambda client: _parts(settings, context, outside, client),
                limits=_limits(settings),
                lease_seconds=settings.lease_seconds,
            )
            driver = Driver(shop, context)
            context.metrics.show_nothing(ENTITIES, context.metrics.rejected)
            await create_indexes(outside.database)
            async with _woken(settings, driver, context):
                await driver.work()

    return drive


@asynccontextmanager
async def _woken(settings: ExtractorSettings, driver: Driver, context: Context) -> AsyncIterator[None]:
    """An event of the topic `commands` makes it look at once. While Kafka is away it looks now and then, as always."""

    async def listen() -> None:
        while not over.is_set():
            try:
                async with wake_on(settings, "commands", driver.wake):
                    context.reached("kafka")
                    await over.wait()
            except OutageError as away:
                context.missed(away)
                await context.clock.sleep(_LISTEN_AGAIN_S)

    over = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen())
            try:
                yield
            finally:
                over.set()
                listening.cancel()
    except BaseExceptionGroup as failures:
        raise first_of(failures) from failures


@dataclass(frozen=True, slots=True)
class Outside:
    """Connections of the process. `dlq` takes records that are larger than the topics' own."""

    mongo: Client
    database: Database
    redis: Redis
    producer: RecordProducer
    dlq: RecordProducer


def _outside(settings: ExtractorSettings, stack: AsyncExitStack) -> Outside:
    mongo = open_client(settings.mongodb.get_secret_value())
    stack.callback(mongo.close)
    redis = Redis.from_url(settings.redis.get_secret_value(), socket_timeout=5, socket_connect_timeout=5)
    stack.push_async_callback(redis.aclose)
    producer = RecordProducer(settings.kafka, client_id=settings.group("extractor"), batch_bytes=_BATCH_BYTES)
    stack.push_async_callback(producer.close)
    dlq = RecordProducer(settings.kafka, client_id=settings.group("extractor.dlq"), batch_bytes=_LETTER_BYTES)
    stack.push_async_callback(dlq.close)
    return Outside(mongo, open_database(mongo, settings.database), redis, producer, dlq)


def _parts(settings: ExtractorSettings, context: Context, outside: Outside, client: PortalClient) -> Parts:
    database, project = outside.database, settings.project
    runs, outbox = MongoRuns(database), MongoOutbox(database)
    return Parts(
        portal=client,
        webhooks=list(client.webhooks),
        names=(client.host, *settings.former_names()),
        runs=runs,
        families=runs,
        records=MongoRecords(database, context.clock),
        roots=MongoRoots(database),
        inventory=MongoInventory(outside.mongo, database, context.clock),
        listings=MongoListings(database),
        strangers=MongoStrangers(database),
        publishing=Store(outbox, outbox, outbox, MongoLetters(database, project), runs, outside.dlq),
        broker=outside.producer,
        progress=MongoProgress(database),
        tally=MongoTally(database),
        storage=StorageChecks(database, outside.redis, outside.producer, project),
        backlog=KafkaBacklog(settings.kafka, database, project),
        events=RunEvents(outside.producer, project, client.host, context.clock),
        project=project,
    )


def portal_trust(settings: ExtractorSettings) -> ssl.SSLContext:
    """Certificates that the portal may show. Raises ConfigurationError when the CA file cannot be used."""
    try:
        return ssl.create_default_context(cafile=settings.portal_ca_file)
    except OSError as unusable:
        raise ConfigurationError(
            f"CHATFERRY_PORTAL_CA_FILE: {settings.portal_ca_file} is no CA in PEM ({unusable.strerror})"
        ) from None


def _owner(clock: Clock) -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{clock.now():%H%M%S}/{secrets.token_hex(4)}"


def _limits(settings: ExtractorSettings) -> Limits:
    return Limits(
        concurrency=settings.portal_concurrency,
        batch_commands=settings.batch_commands,
        page_size=settings.page_size,
        open_walks=settings.open_walks,
        publish_chunk=settings.publish_chunk,
        record_bytes_max=settings.record_bytes_max,
    )


main = partial(run_service, "extractor", ExtractorSettings, work)
