"""The service whole: replicas as processes on real servers, held against the truth of a simulated MAX."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.participants.replicas import ROOT, Replica, Site

from chatferry.common.bootstrap import create_topics, read_topics
from chatferry.simulators.max import Api, Delivery, Running, Script, Settings, Size, serve, truth
from chatferry.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
# What was granted evenly, 27 a second, arrives in bunches on a busy machine; three budgets apart would make it 81.
BUNCHED = 36
GENTLE = Settings(api=Api(), delivery=Delivery(https_only=False), script=Script(changes_per_minute=0))


@pytest.fixture
async def max_platform() -> AsyncIterator[Running]:
    async with serve(Size(seed=5, chats=40, largest=300), GENTLE) as running:
        yield running


@pytest.fixture
async def site(stack: Addresses, max_platform: Running, tmp_path: Path) -> AsyncIterator[Site]:
    project = f"part-{uuid.uuid4().hex[:8]}"
    await create_topics(stack.kafka, project, read_topics(ROOT / "deploy" / "topics.yaml"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    site = Site(project, stack, max_platform, tmp_path, {"CHATFERRY_MAX_WEBHOOK_URL": f"http://127.0.0.1:{port}"})
    site.settings["PORT"] = str(port)
    yield site
    for replica in site.replicas:
        replica.stop()


async def subscribed(site: Site) -> Replica:
    """One replica that MAX tells its events, and all chats announced to it."""
    replica = await site.ready(site.start(port=int(site.settings["PORT"])))
    await site.until(lambda: site.max.world.webhooks.active, "MAX has our subscription")
    assert site.max.world.changes.announce() > 0
    await site.until(lambda: exact(site), "every chat of MAX is counted")
    return replica


async def exact(site: Site, replica: Replica | None = None) -> bool:
    return await site.exact(replica)


async def test_every_chat_is_counted_and_follows_what_happens_in_max(site: Site) -> None:
    await subscribed(site)
    chat = max(site.truth(), key=lambda one: site.truth()[one])
    site.max.world.changes.add_user(chat)
    seconds = await site.until(lambda: exact(site), "who came is counted, and confirmed", 10)
    assert seconds < 8
    calls = site.max.world.traffic.summary(0)
    assert calls["max_in_any_second"] <= BUNCHED
    assert calls["reads_twice_at_once"] == 0


async def test_a_stop_ends_with_0(site: Site) -> None:
    replica = await subscribed(site)
    assert replica.stop() == 0, replica.log.read_text()[-3_000:]


async def test_another_replica_goes_on_where_a_killed_one_stopped(site: Site) -> None:
    first = await subscribed(site)
    second = await site.ready(site.start())
    third = await site.ready(site.start())
    await site.until(lambda: exact(site, third), "the others know all chats", 20)
    second.kill()
    chats = list(site.truth())
    for chat in chats:
        site.max.world.changes.add_user(chat)
    await site.until(lambda: exact(site, third), "the dead one's chats are read by the others", 20)
    assert await site.exact(first)
    calls = site.max.world.traffic.summary(0)
    assert calls["max_in_any_second"] <= BUNCHED
    assert calls["reads_twice_at_once"] == 0


async def test_a_change_that_no_event_told_is_found_within_the_safety_interval(site: Site) -> None:
    site.settings |= {"PARTICIPANTS_SAFETY_INTERVAL": "12", "PARTICIPANTS_UPDATE_INTERVAL": "10"}
    await subscribed(site)
    for chat in list(site.truth())[:10]:
        site.max.world.changes.move_silently(chat, 3)
    await site.until(lambda: exact(site), "the silent changes are found", 25)
    told = truth.events(site.max.world)
    assert told["changes"]["silent"] == 30


async def test_the_bot_put_out_freezes_and_taken_in_again_counts_on(site: Site) -> None:
    await subscribed(site)
    chat, known = next(iter(site.truth().items()))
    site.max.world.changes.remove_bot(chat)

    async def state() -> tuple[int, str]:
        return (await site.served())[chat]

    async def is_frozen() -> bool:
        return await state() == (known, "frozen")

    await site.until(is_frozen, "the count is frozen", 10)
    site.max.world.changes.add_bot(chat)
    await site.until(lambda: exact(site), "it counts again", 15)


async def test_readers_who_want_fresh_counts_cause_one_read_however_many_they_are(site: Site) -> None:
    replica = await subscribed(site)
    await asyncio.sleep(1.1)  # what is younger than a second is fresh already
    chat = next(iter(site.truth()))
    before = site.max.world.traffic.reads_by_chat(0)[chat]
    path = f"/chats/{chat}/participants"
    answers = await asyncio.gather(*(site.get(path, replica, fresh_participants="true") for _ in range(20)))
    assert {one["participants_count"] for one in answers} == {site.truth()[chat]}
    assert site.max.world.traffic.reads_by_chat(0)[chat] == before + 1
