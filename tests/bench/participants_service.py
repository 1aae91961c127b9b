"""The reading side of the participants service as a process: nobody asks MAX here."""

from __future__ import annotations

import random

from starlette.routing import BaseRoute, Mount

from chatferry.common.adapters.mongo import open_client, open_database
from chatferry.common.service import Context, Work, run_service
from chatferry.participants.adapters.local import LocalCounts, LocalWaiting
from chatferry.participants.adapters.local_work import LocalWanted
from chatferry.participants.adapters.mongo_catalogue import MongoCatalogue
from chatferry.participants.adapters.mongo_max_side import MongoMaxSide
from chatferry.participants.adapters.redis_base import Keys as RedisKeys
from chatferry.participants.adapters.redis_base import open_redis, probe_of
from chatferry.participants.adapters.redis_counts import RedisCounts
from chatferry.participants.adapters.redis_layers import LayeredCounts, Switch
from chatferry.participants.admission import Keys, Rates
from chatferry.participants.api import Calls, Gate, answers_of, build_api
from chatferry.participants.domain.pages import Cursors
from chatferry.participants.domain.plan import Debounce
from chatferry.participants.metrics import Watching, keep_looking
from chatferry.participants.serving import Rules, Serving, Sources
from chatferry.participants.settings import ParticipantsSettings
from chatferry.participants.view import View


class Reading:
    """`prepare` gives the work, then `routes` the HTTP side (the order of `run_service`)."""

    def prepare(self, settings: ParticipantsSettings) -> Work:
        self._settings = settings
        return self._work

    def routes(self, context: Context) -> list[BaseRoute]:
        settings = self._settings
        clock, rng = context.clock, random.Random()
        self._redis = open_redis(settings.redis.get_secret_value())
        self._client = open_client(settings.mongodb.get_secret_value())
        database = open_database(self._client, settings.catalogue)
        self._catalogue = MongoCatalogue(database)
        self._view, self._watching = View(clock), Watching(context.metrics, clock)
        keys = RedisKeys(settings.project)
        counts = RedisCounts(self._redis, keys, settings.cache_ttl_s, rng)
        layered = LayeredCounts(counts, LocalCounts(clock), Switch(clock, probe_of(self._redis)))
        rules = Rules(settings.cache_ttl_s * 1_000, settings.fresh_wait_seconds)
        sources = Sources(layered, LocalWanted(clock, set(), Debounce()), LocalWaiting())
        serving = Serving(self._view, sources, clock, rules, self._watching)
        api_keys = settings.keys()
        calls = Calls(serving, MongoMaxSide(database, clock), Cursors(api_keys[0].encode()), settings.api_page_max)
        gate = Gate(Keys(api_keys), Rates(settings.api_rate_per_second, clock), self._watching)
        return [Mount("/", app=build_api(answers_of(gate, calls, None)))]

    async def _work(self, context: Context) -> None:
        fresh_ms = self._settings.cache_ttl_s * 1_000
        while not context.stopping.is_set():
            await self._view.follow(self._catalogue)
            entries = self._view.entries
            await keep_looking(self._watching, entries, context.clock, fresh_ms, context.stopping)


if __name__ == "__main__":
    reading = Reading()
    run_service("participants", ParticipantsSettings, reading.prepare, reading.routes)
