"""GET /updates: waiting, markers, types, what is kept and what is not."""

import asyncio
import time

import pytest
from tests.contract.simulators.max.helpers import Max, Receiver, chats_of, until

from chatferry.simulators.max import Running


async def test_a_poll_waits_for_the_first_event(api: Max, running: Running) -> None:
    poll = asyncio.create_task(api.result("/updates", params={"timeout": 20}))
    await until(lambda: running.world.traffic.summary()["total"] == 1)
    running.world.changes.add_user(chats_of(running)[0].id)
    assert [update["update_type"] for update in (await poll)["updates"]] == ["user_added"]


async def test_a_poll_in_vain_ends_with_its_time(api: Max) -> None:
    began = time.monotonic()
    assert (await api.result("/updates", params={"timeout": 1}))["updates"] == []
    assert 1 <= time.monotonic() - began < 10


async def test_a_marker_commits_what_was_before_it(api: Max, running: Running) -> None:
    for chat in chats_of(running)[:5]:
        running.world.changes.add_user(chat.id)
    first = await api.result("/updates", params={"timeout": 0, "limit": 2})
    again = await api.result("/updates", params={"timeout": 0, "limit": 2})
    assert first == again
    rest = await api.result("/updates", params={"timeout": 0, "marker": first["marker"]})
    assert len(rest["updates"]) == 3
    assert await api.updates() == rest["updates"]
    assert await api.updates(marker=rest["marker"]) == []
    assert await api.updates() == []


async def test_without_a_marker_only_the_latest_may_come(api: Max, running: Running) -> None:
    running.world.change_settings({"api": {"no_marker": "latest"}})
    for title in ("one", "two", "three"):
        running.world.changes.rename(chats_of(running)[0].id, title)
    assert [update["title"] for update in await api.updates()] == ["three"]


async def test_types_are_chosen_and_others_are_passed_over(api: Max, running: Running) -> None:
    chat = chats_of(running)[0]
    running.world.changes.add_user(chat.id)
    running.world.changes.rename(chat.id, "new")
    page = await api.result("/updates", params={"timeout": 0, "types": "chat_title_changed,bot_added"})
    assert [update["update_type"] for update in page["updates"]] == ["chat_title_changed"]


async def test_events_of_yesterday_are_gone(api: Max, running: Running) -> None:
    chat = chats_of(running)[0]
    running.world.changes.rename(chat.id, "old")
    running.world.skip(24 * 3600)
    running.world.changes.rename(chat.id, "new")
    running.world.skip(3600)
    assert [update["title"] for update in await api.updates()] == ["new"]
    assert running.world.feed.expired == 1


async def test_a_page_has_a_hundred_at_most(api: Max, running: Running) -> None:
    for _ in range(120):
        running.world.changes.post(chats_of(running)[0].id)
    assert len(await api.updates(limit=1000)) == 100


async def test_with_a_webhook_polls_stay_empty(api: Max, running: Running, bot_server: Receiver) -> None:
    await api.result("/subscriptions", "POST", json={"url": bot_server.url})
    running.world.changes.add_user(chats_of(running)[0].id)
    assert await api.updates() == []
    await api.result("/subscriptions", "DELETE", params={"url": bot_server.url})
    assert await api.updates() == []


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "timeout=91", "timeout=-1", "marker=x"])
async def test_values_out_of_range_are_refused(api: Max, query: str) -> None:
    assert await api.error(f"/updates?{query}") == (400, "proto.payload")
