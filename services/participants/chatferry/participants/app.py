"""The composition root: `python -m chatferry.participants`."""

from __future__ import annotations

import asyncio
import gc
import random
from contextlib import AsyncExitStack
from uuid import uuid4

from redis.asyncio import BlockingConnectionPool
from starlette.routing import BaseRoute, Mount

from chatferry.common.adapters.mongo import open_client, open_database
from chatferry.common.adapters.redis import check_redis_url
from chatferry.common.errors import OutageError
from chatferry.common.service import Context, Work, run_service
from chatferry.common.streaming.consumer import ConsumerSettings, RecordConsumer, RecordWorker, open_broker
from chatferry.common.streaming.producer import RecordProducer
from chatferry.participants.adapters.kafka_out import KafkaAnnouncements, KafkaInbox
from chatferry.participants.adapters.links import read_links
from chatferry.participants.adapters.max_api import HttpMax, MaxAddress
from chatferry.participants.adapters.mongo_applied import MongoApplied
from chatferry.participants.adapters.mongo_catalogue import MongoCatalogue, MongoOutbox
from chatferry.participants.adapters.mongo_entries import prepare, reachable
from chatferry.participants.adapters.mongo_max_side import MongoMaxSide
from chatferry.participants.adapters.mongo_memory import MongoMemory
from chatferry.participants.admission import Keys, Rates, Secret
from chatferry.participants.api import Calls, Gate, answers_of, build_api
from chatferry.participants.applying import Applying
from chatferry.participants.domain.pages import Cursors
from chatferry.participants.flow.events import Listener
from chatferry.participants.flow.keeping import Keeper, Subscription
from chatferry.participants.flow.linking import keep_linked
from chatferry.participants.flow.parts import Hearing, Parts, Trust
from chatferry.participants.flow.planning import Planner
from chatferry.participants.flow.reading import Reader
from chatferry.participants.handlers import SourceWorker, UpdateWorker
from chatferry.participants.lasting import Kind, either, side_by_side
from chatferry.participants.metrics import Watching, keep_looking
from chatferry.participants.serving import Rules, Serving, Sources
from chatferry.participants.settings import ParticipantsSettings
from chatferry.participants.shared import Shared, open_shared
from chatferry.participants.view import View
from chatferry.participants.webhook import Webhook

_FOLLOW_EVERY_S = 0.5
# What a reader can do without: `/readyz` names it, and says that we are ready all the same.
_BEARABLE = frozenset({"redis", "kafka", "max", "mongodb", "subscription"})


class Participants:
    """One replica: `prepare` gives its work, then `routes` its HTTP side (the order of `run_service`)."""

    def prepare(self, settings: ParticipantsSettings) -> Work:
        """Everything that runs beside the calls. Raises ConfigurationError."""
        check_redis_url(settings.redis.get_secret_value(), BlockingConnectionPool)
        self._settings = settings
        self._keys, self._token = settings.keys(), settings.token()
        self._secret = settings.webhook_secret() if settings.max_events == "webhook" else None
        self._links, self._hearing = read_links(settings.max_links_file), Hearing()
        return self._work

    def routes(self, context: Context) -> list[BaseRoute]:
        """The calls. Runs in the event loop, where the clients must be made."""
        settings, clock = self._settings, context.clock
        self._client = open_client(settings.mongodb.get_secret_value(), timeout_ms=3_000)
        database = open_database(self._client, settings.catalogue)
        self._database = database
        self._catalogue, self._max_side = MongoCatalogue(database), MongoMaxSide(database, clock)
        self._watching, self._view = Watching(context.metrics, clock, context.health), View(clock)
        self._producer = RecordProducer(settings.kafka, client_id=f"{settings.project}.participants")
        self._inbox = KafkaInbox(settings.topic("max.updates"), settings.project, self._producer, clock)
        rng = random.Random()  # noqa: S311
        self._shared = open_shared(settings, context, replica=uuid4().hex, rng=rng, chats=self._view)
        self._max = HttpMax(
            MaxAddress(settings.max_url, self._token, settings.max_ca_file, settings.max_answer_seconds),
            clock,
            self._watching.failed,
        )
        context.health.bears(_BEARABLE)
        context.health.ready_when("chats", lambda: None if self._view.filled else "the chats are not read yet")
        return [Mount("/", app=build_api(answers_of(self._gate(context), self._calls(context), self._webhook())))]

    def _gate(self, context: Context) -> Gate:
        return Gate(Keys(self._keys), Rates(self._settings.api_rate_per_second, context.clock), self._watching)

    def _calls(self, context: Context) -> Calls:
        settings, shared = self._settings, self._shared
        rules = Rules(settings.cache_ttl_s * 1_000, settings.fresh_wait_seconds, settings.wishes_per_second)
        now_ms = lambda: shared.budget.now_ms  # noqa: E731
        sources = Sources(shared.counts, shared.wanted, shared.waiting, now_ms, lambda: shared.counts.shared)
        serving = Serving(self._view, sources, context.clock, rules, self._watching)
        # Any replica goes on with any other's page.
        cursors = Cursors(f"{settings.project}:{':'.join(sorted(self._keys))}".encode())
        return Calls(serving, self._max_side, cursors, settings.api_page_max)

    def _webhook(self) -> Webhook | None:
        if self._secret is None:
            return None
        bytes_max = self._settings.max_webhook_bytes_max
        return Webhook(Secret(self._secret), self._inbox, self._watching, bytes_max, self._hearing)

    async def _work(self, context: Context) -> None:
        gc.freeze()  # modules and schemas are no garbage: without this each full collection walks them all
        async with AsyncExitStack() as stack:
            stack.callback(self._client.close)
            stack.push_async_callback(self._producer.close)
            stack.push_async_callback(self._max.close)
            stack.push_async_callback(self._catalogue.close)
            await stack.enter_async_context(self._shared)
            parts = self._parts(self._shared)
            trust = Trust(self._settings.max_events != "off")
            planner = Planner(self._view, trust, self._settings.plan, self._settings.top_n)
            reader = Reader(parts, planner, self._shared.stamping, self._settings.batch_size)
            keeper = Keeper(
                parts,
                trust,
                self._shared.stamping,
                on_duty=lambda: 0 in reader.held,
                told=self._watching.unsubscribed,
                hearing=self._hearing,
            )
            await side_by_side(context, self._works(context, parts, reader, keeper))

    def _parts(self, shared: Shared) -> Parts:
        return Parts(
            shared.counts,
            shared.budget,
            shared.slots,
            shared.wanted,
            shared.waiting,
            self._max,
            self._max_side,
            self._catalogue,
            MongoOutbox(self._database),
            KafkaAnnouncements(
                self._settings.topic("participants"), self._settings.project, self._producer, self._shared.clock
            ),
            MongoMemory(self._database),
            self._view,
            self._watching,
        )

    def _works(self, context: Context, parts: Parts, reader: Reader, keeper: Keeper) -> list[tuple[str, Kind]]:
        stopping, clock = context.stopping, context.clock
        listener = Listener(parts, clock)
        skipped = lambda entity, reason: context.metrics.skipped.labels(entity, reason).inc()  # noqa: E731
        topics = self._settings.topic("chats"), self._settings.topic("chat_messages")
        sources = SourceWorker(self._catalogue, topics, skipped, self._probe)
        updates = UpdateWorker(listener.apply, skipped, self._probe)
        fresh_ms = self._settings.cache_ttl_s * 1_000
        works: list[tuple[str, Kind]] = [
            ("view", lambda: self._follow(context)),
            ("reads", lambda: self._read(reader, context)),
            ("records", lambda: self._apply(topics, sources, context)),
            ("announcements", lambda: keeper.announce(stopping)),
            ("marks", lambda: keeper.remember(stopping)),
            ("looks", lambda: keep_looking(self._watching, self._view.entries, clock, fresh_ms, stopping)),
            ("links", lambda: self._link(parts, context)),
        ]
        if self._settings.max_events != "off":
            names = (self._settings.topic("max.updates"),)
            works.append(("updates", lambda: self._consume("updates", names, updates, context, stopping)))
        if self._settings.max_events == "polling":
            works.append(("polling", lambda: keeper.poll(self._max, self._inbox, stopping)))
        elif self._secret is not None and self._settings.max_webhook_url is not None:
            url = self._settings.max_webhook_url.rstrip("/") + "/max/updates"
            wanted = Subscription(url, self._secret)
            works.append(("subscription", lambda: keeper.stay_subscribed(wanted, stopping)))
        return works

    async def _follow(self, context: Context) -> None:
        await prepare(self._database)
        while not context.stopping.is_set():
            await self._view.follow(self._catalogue)
            await context.clock.sleep(_FOLLOW_EVERY_S)

    async def _read(self, reader: Reader, context: Context) -> None:
        await self._filled(context)
        await reader.run(context.stopping)

    async def _link(self, parts: Parts, context: Context) -> None:
        await self._filled(context)
        await keep_linked(self._links, parts, context.clock, context.stopping)

    async def _filled(self, context: Context) -> None:
        # Before all chats are known, a chat in hand may be one that is linked already.
        while not self._view.filled and not context.stopping.is_set():
            await context.clock.sleep(_FOLLOW_EVERY_S)

    async def _apply(self, topics: tuple[str, ...], sources: RecordWorker, context: Context) -> None:
        """Again from the start as often as the catalogue is lost, or an older one takes its place."""
        applied = MongoApplied(self._database, lambda: uuid4().hex[:12])
        while not context.stopping.is_set():
            reading = await applied.reading()
            worker = Applying(sources, applied, reading)
            async with either(context.stopping, worker.lost) as ends:
                await self._consume(f"catalogue.{reading}", topics, worker, context, ends)

    async def _consume(
        self, group: str, topics: tuple[str, ...], worker: RecordWorker, context: Context, ends: asyncio.Event
    ) -> None:
        for topic in topics:
            await self._producer.partitions_of(topic)
        broker = open_broker(self._settings.kafka, client_id=f"{self._settings.project}.participants")
        wanted = ConsumerSettings(
            group=self._settings.group(f"participants.{group}"), topics=topics, drain_s=self._settings.drain_seconds
        )
        await RecordConsumer(broker, wanted, worker, context.clock, context.health).run(ends)

    async def _probe(self, away: OutageError) -> None:
        """Whatever an update or a record needs is in MongoDB."""
        del away
        await reachable(self._database)


def main() -> None:
    """Run one replica until it is asked to stop."""
    replica = Participants()
    run_service("participants", ParticipantsSettings, replica.prepare, replica.routes)
