"""The service whole: replicas as processes on real servers, held against the truth of a simulated MAX."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration.participants.replicas import ROOT, Site

from chatferry.common.bootstrap import create_topics, read_topics
from chatferry.simulators.max import Api, Delivery, Script, Settings, Size, serve, truth
from chatferry.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]
# What MAX allows, by the arrivals there.
CALLS_IN_A_SECOND = 30
GENTLE = Settings(api=Api(), delivery=Delivery(https_only=False), script=Script(changes_per_minute=0))


class Lag:
    """How late this loop is, which is MAX's too: what is sent to it meanwhile arrives together."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Lag:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watching is not None
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.01)
            self.worst_s = max(self.worst_s, time.monotonic() - begun - 0.01)

    @property
    def allowed(self) -> int:
        """Calls that may arrive within a second, of which no more than MAX allows were sent within one."""
        return CALLS_IN_A_SECOND + int(27 * self.worst_s)


@asynccontextmanager
async def a_site(stack: Addresses, folder: Path, **settings: str) -> AsyncIterator[Site]:
    """A project of its own, and the MAX that its one subscribed replica is told by."""
    async with serve(Size(seed=5, chats=40, largest=300), GENTLE) as platform:
        project = f"part-{uuid.uuid4().hex[:8]}"
        await create_topics(stack.kafka, project, read_topics(ROOT / "deploy" / "topics.yaml"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        site = Site(project, stack, platform, folder, {"CHATFERRY_MAX_WEBHOOK_URL": url, **settings})
        try:
            await site.ready(site.start(port=port))
            await site.until(lambda: platform.world.webhooks.active, "MAX has our subscription")
            assert platform.world.changes.announce() > 0
            await site.until(site.exact, "every chat of MAX is counted")
            yield site
        finally:
            for replica in site.replicas:
                replica.process.terminate()
            for replica in site.replicas:
                replica.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One for the tests that leave it as they found it."""
    async with a_site(stack, tmp_path_factory.mktemp("site")) as site:
        yield site


async def test_every_chat_is_counted_and_follows_what_happens_in_max(site: Site) -> None:
    chat, begun_ms = max(site.truth(), key=lambda one: site.truth()[one]), int(time.time() * 1_000)
    async with Lag() as lag:
        site.max.world.changes.add_user(chat)
        seconds = await site.until(site.exact, "who came is counted, and confirmed", 10)
    assert seconds < 8
    assert site.max.world.traffic.summary(begun_ms)["max_in_any_second"] <= lag.allowed
    calls = site.max.world.traffic.summary(0)
    assert calls["reads_twice_at_once"] == 0


async def test_a_change_that_no_event_told_is_found_within_the_safety_interval_and_a_stop_ends_with_0(
    stack: Addresses, tmp_path: Path
) -> None:
    every = {"PARTICIPANTS_SAFETY_INTERVAL": "10", "PARTICIPANTS_UPDATE_INTERVAL": "10"}
    async with a_site(stack, tmp_path, **every) as site:
        for chat in list(site.truth())[:10]:
            site.max.world.changes.move_silently(chat, 3)
        await site.until(site.exact, "the silent changes are found", 25)
        assert truth.events(site.max.world)["changes"]["silent"] == 30
        [replica] = site.replicas
        assert await asyncio.to_thread(replica.stop) == 0, replica.log.read_text()[-3_000:]


async def test_the_bot_put_out_freezes_and_taken_in_again_counts_on(site: Site) -> None:
    chat, known = next(iter(site.truth().items()))
    site.max.world.changes.remove_bot(chat)

    async def state() -> tuple[int, str]:
        return (await site.served())[chat]

    async def is_frozen() -> bool:
        return await state() == (known, "frozen")

    await site.until(is_frozen, "the count is frozen", 10)
    site.max.world.changes.add_bot(chat)
    await site.until(site.exact, "it counts again", 15)


async def test_readers_who_want_fresh_counts_cause_one_read_however_many_they_are(site: Site) -> None:
    [replica, *_] = site.replicas
    await asyncio.sleep(1.1)  # what is younger than a second is fresh already
    chat = next(iter(site.truth()))
    before = site.max.world.traffic.reads_by_chat(0)[chat]
    path = f"/chats/{chat}/participants"
    answers = await asyncio.gather(*(site.get(path, replica, fresh_participants="true") for _ in range(20)))
    assert {one["participants_count"] for one in answers} == {site.truth()[chat]}
    assert site.max.world.traffic.reads_by_chat(0)[chat] == before + 1


async def test_another_replica_goes_on_where_a_killed_one_stopped(site: Site) -> None:
    [first] = site.replicas
    begun_ms = int(time.time() * 1_000)
    async with Lag() as lag:
        second = await site.ready(site.start())
        third = await site.ready(site.start())
        await site.until(lambda: site.exact(third), "the others know all chats", 20)
        second.kill()
        chats = list(site.truth())
        for chat in chats:
            site.max.world.changes.add_user(chat)
        await site.until(lambda: site.exact(third), "the dead one's chats are read by the others", 20)
        assert await site.exact(first)
    calls = site.max.world.traffic.summary(begun_ms)
    assert calls["max_in_any_second"] <= lag.allowed
    assert calls["reads_twice_at_once"] == 0


async def test_no_second_has_more_than_thirty_calls_while_three_replicas_make_all_that_they_may(
    stack: Addresses, tmp_path: Path
) -> None:
    """With the 27 calls a second that are shipped, by what arrives at MAX: leave that has gone by when a call is to be
    sent is taken anew, so that what a busy machine delays does not come together. What is left are delays between the
    sending and MAX, and of those MAX's own are known here."""
    every = {"PARTICIPANTS_UPDATE_INTERVAL": "1", "PARTICIPANTS_TOP_N": "100"}
    async with a_site(stack, tmp_path, **every) as site:
        await site.ready(site.start())
        await site.ready(site.start())
        traffic, begun_ms = site.max.world.traffic, int(time.time() * 1_000)
        async with Lag() as lag:
            await site.until(lambda: traffic.summary(begun_ms)["total"] >= 400, "MAX is asked all the time", 90)
        calls = traffic.summary(begun_ms)
        print(
            f"\n{calls['total']} calls, at most {calls['max_in_any_second']} in any second, MAX late by {lag.worst_s}"
        )
        assert calls["max_in_any_second"] <= lag.allowed
        assert calls["reads_twice_at_once"] == 0
