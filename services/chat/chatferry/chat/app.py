"""The composition root: `python -m chatferry.chat`."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

from starlette.routing import BaseRoute, Mount

from chatferry.chat.adapters.ids import MongoIds
from chatferry.chat.adapters.mongodb import MongoReader, MongoRecords, prepare, reachable
from chatferry.chat.admission import Access, Bodies
from chatferry.chat.api import build_api
from chatferry.chat.domain.positions import Marks
from chatferry.chat.flow import Importing, KnownParents, Reading
from chatferry.chat.handlers import Calls, Gate
from chatferry.chat.metrics import ChatMetrics
from chatferry.chat.settings import ChatSettings
from chatferry.chat.watch import Watch
from chatferry.common.adapters.mongo import Database, open_client, open_database
from chatferry.common.errors import OutageError
from chatferry.common.service import Context, Work, run_service
from chatferry.common.telemetry.logs import get_logger

log = get_logger(__name__)
_LOOK_EVERY_S = 1.0


class Target:
    """One target: `prepare` gives its background work, then `routes` its HTTP side (the order of `run_service`)."""

    def __init__(self) -> None:
        self._watch = Watch()

    def prepare(self, settings: ChatSettings) -> Work:
        """What runs beside the calls: the indexes first, then a look at the database every second."""
        self._settings = settings
        return self._keep_watch

    def routes(self, context: Context) -> list[BaseRoute]:
        """The protocol's routes. Runs in the event loop, where the client must be made."""
        settings = self._settings
        self._client = open_client(settings.mongodb.get_secret_value(), timeout_ms=settings.mongodb_timeout_ms)
        self._database = open_database(self._client, settings.database)
        context.health.away_when("mongodb", self._watch.ready)
        metrics = ChatMetrics(context.metrics.registry)
        secrets = tuple(secret.encode() for secret in settings.webhook_secrets)
        gate = Gate(
            Access(settings.chat_webhook_user.encode(), secrets),
            Bodies(each=settings.body_bytes_max, most=settings.bodies_bytes_max),
            self._watch,
            metrics,
        )
        calls = build_calls(settings, self._database, secrets[0], metrics)
        return [Mount("/", app=build_api(gate.answerer(calls), gate.unknown))]

    async def _keep_watch(self, context: Context) -> None:
        gc.freeze()  # modules and schemas are no garbage: without this each full collection walks them all
        try:
            while not context.stopping.is_set():
                await _look(self._watch, self._database)
                with suppress(TimeoutError):
                    await asyncio.wait_for(context.stopping.wait(), _LOOK_EVERY_S)
        finally:
            self._client.close()


async def _look(watch: Watch, database: Database) -> None:
    try:
        await (reachable(database) if watch.prepared else prepare(database))
    except OutageError as away:
        if watch.wrong is None:
            log.warning("outage", part=away.part)
        watch.seen(away.sentence)
    else:
        watch.prepared = True
        watch.seen(None)


def build_calls(settings: ChatSettings, database: Database, secret: bytes, metrics: ChatMetrics) -> Calls:
    """The calls on a database. `secret` seals the marks of lists."""
    importing = Importing(
        MongoRecords(database),
        MongoIds(database, settings.id_block),
        KnownParents(settings.known_parents_max),
        settings.record_bytes_max,
    )
    return Calls(importing, Reading(MongoReader(database), Marks(secret)), metrics, settings.batch_items_max)


def main() -> None:
    """Run the target until it is asked to stop."""
    target = Target()
    run_service("chat", ChatSettings, target.prepare, target.routes)
