"""Deliveries: one update a POST, tried again for hours, given up, disturbed on purpose; and the truth about it."""

import asyncio
import itertools
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from starlette.responses import Response
from tests.contract.simulators.max.helpers import Json, Max, Receiver, chats_of, until

from chatferry.simulators.listener import listen
from chatferry.simulators.max import Kind, Running, Serve, Settings, Size, serve, truth
from chatferry.simulators.max.settings import Delivery, Script

SECRET = "fixture_secret_1"


async def subscribe(api: Max, server: Receiver, *types: str) -> None:
    body = {"url": server.url, "secret": SECRET} | ({"update_types": types} if types else {})
    assert await api.result("/subscriptions", "POST", json=body) == {"success": True}


def moved(running: Running, times: int) -> list[int]:
    """People added one after another to one chat; their ids."""
    return [running.world.changes.add_user(chats_of(running)[0].id) for _ in range(times)]


def added(updates: list[Json]) -> list[int]:
    return [update["user"]["user_id"] for update in updates]


async def test_every_change_is_told_once_with_the_secret(api: Max, running: Running, bot_server: Receiver) -> None:
    await subscribe(api, bot_server)
    people = moved(running, 20)
    await until(lambda: running.world.webhooks.counts["delivered"] == 20)
    assert sorted(added(bot_server.updates)) == sorted(people)
    assert set(bot_server.secrets) == {SECRET}
    events = truth.events(running.world)
    assert events["changes"] == {"total": 20, "told": 20, "silent": 0, "unheard": 0, "missed": 0}
    assert (events["events"], events["delivered"], events["lost"], events["repeated"]) == (20, 20, 0, 0)


async def test_only_the_wanted_types_are_told(api: Max, running: Running, bot_server: Receiver) -> None:
    await subscribe(api, bot_server, "chat_title_changed")
    moved(running, 3)
    running.world.changes.rename(chats_of(running)[0].id, "new")
    await until(lambda: running.world.webhooks.counts["delivered"] == 1)
    assert [update["update_type"] for update in bot_server.updates] == ["chat_title_changed"]


@pytest.mark.parametrize("status", [201, 302, 404, 500])
async def test_what_was_not_answered_with_200_comes_again(
    api: Max, running: Running, bot_server: Receiver, status: int
) -> None:
    bot_server.statuses = [status]
    await subscribe(api, bot_server)
    [who] = moved(running, 1)
    await until(lambda: running.world.webhooks.counts["failed_posts"] == 1)
    running.world.skip(59)
    assert len(bot_server.updates) == 1
    running.world.skip(1.5)
    await until(lambda: running.world.webhooks.counts["delivered"] == 1)
    assert added(bot_server.updates) == [who, who]
    assert bot_server.updates[0] == bot_server.updates[1]


async def test_pauses_grow_and_after_ten_retries_an_event_is_lost(
    api: Max, running: Running, bot_server: Receiver
) -> None:
    bot_server.always = 500
    running.world.change_settings({"delivery": {"unsubscribe_after_s": 10**9}})
    await subscribe(api, bot_server)
    moved(running, 1)
    pauses = [60 * 2.5**number for number in range(10)]
    for tried, pause in enumerate(pauses, 1):
        await until(lambda tried=tried: running.world.webhooks.counts["failed_posts"] == tried)  # type: ignore[misc]
        assert truth.events(running.world)["lost"] == 0
        running.world.skip(pause * 0.8)
        await api.result("/me")
        assert running.world.webhooks.counts["posts"] == tried
        running.world.skip(pause * 0.21)
    await until(lambda: running.world.webhooks.counts["failed_posts"] == 11)
    events = truth.events(running.world)
    assert (events["given_up"], events["lost"], events["changes"]["missed"]) == (1, 1, 1)


async def test_eight_hours_without_a_success_end_the_subscription(
    api: Max, running: Running, bot_server: Receiver
) -> None:
    bot_server.always = 500
    await subscribe(api, bot_server)
    moved(running, 1)
    await until(lambda: running.world.webhooks.counts["failed_posts"] == 1)
    running.world.skip(8 * 3600 - 60)
    await until(lambda: running.world.webhooks.counts["failed_posts"] == 2)
    assert len((await api.result("/subscriptions"))["subscriptions"]) == 1
    running.world.skip(61)
    await until(lambda: not running.world.webhooks.active)
    assert (await api.result("/subscriptions")) == {"subscriptions": []}
    [who] = moved(running, 1)
    assert added(await api.updates()) == [who]


async def test_a_success_in_between_keeps_the_subscription(api: Max, running: Running, bot_server: Receiver) -> None:
    bot_server.statuses = [500]
    await subscribe(api, bot_server)
    moved(running, 1)
    await until(lambda: running.world.webhooks.counts["failed_posts"] == 1)
    running.world.skip(61)
    await until(lambda: running.world.webhooks.counts["delivered"] == 1)
    running.world.skip(9 * 3600)
    moved(running, 1)
    await until(lambda: running.world.webhooks.counts["delivered"] == 2)
    assert running.world.webhooks.active


async def test_a_quiet_platform_keeps_the_subscription(api: Max, running: Running, bot_server: Receiver) -> None:
    await subscribe(api, bot_server)
    running.world.skip(100 * 3600)
    moved(running, 1)
    await until(lambda: running.world.webhooks.counts["delivered"] == 1)


async def test_an_answer_after_the_deadline_is_a_failure_and_the_event_comes_twice(
    api: Max, running: Running, bot_server: Receiver
) -> None:
    running.world.change_settings({"delivery": {"deadline_s": 0.2, "retry_first_s": 0}})
    bot_server.slow = asyncio.Event()
    await subscribe(api, bot_server)
    [who] = moved(running, 1)
    await until(lambda: running.world.webhooks.counts["failed_posts"] == 1)
    bot_server.slow.set()
    await until(lambda: running.world.webhooks.counts["delivered"] == 1)
    assert set(added(bot_server.updates)) == {who}
    assert len(bot_server.updates) >= 2


async def test_a_server_that_is_not_there_is_tried_again(api: Max, running: Running) -> None:
    await api.result("/subscriptions", "POST", json={"url": "http://127.0.0.1:9/nobody"})
    moved(running, 1)
    await until(lambda: running.world.webhooks.counts["failed_posts"] == 1)
    running.world.skip(61)
    await until(lambda: running.world.webhooks.counts["failed_posts"] == 2)


async def test_disturbances_are_as_many_as_the_truth_says(api: Max, running: Running, bot_server: Receiver) -> None:
    disturbed = {"drop": 0.2, "duplicate": 0.2, "reorder": 0.2, "delay": 0.1, "delay_max_s": 0.5, "hold_max_s": 0.5}
    running.world.change_settings({"delivery": {**disturbed, "outflow_per_s": 2000}})
    await subscribe(api, bot_server)
    people = moved(running, 200)
    truly = running.world.outbox.counts
    wanted = 200 - truly["dropped"]
    await until(lambda: len(set(added(bot_server.updates))) == wanted)
    # A dropped event is not doubled: 200 posts, less the lost, more the doubled.
    await until(lambda: len(bot_server.updates) == wanted + truly["doubled"])
    events = truth.events(running.world)
    assert min(events[name] for name in ("dropped", "doubled", "delayed", "held_back", "reordered")) >= 5
    assert events["lost"] == events["changes"]["missed"] == events["dropped"]
    await until(lambda: truth.events(running.world)["repeated"] == events["doubled"])
    order = [people.index(who) for who in dict.fromkeys(added(bot_server.updates))]
    assert order != sorted(order)


async def test_changes_are_not_told_where_the_bot_may_not_hear_them(
    api: Max, running: Running, bot_server: Receiver
) -> None:
    await subscribe(api, bot_server)
    chat, changes = chats_of(running)[0], running.world.changes
    changes.set_admin(chat.id, False)
    changes.add_user(chat.id)
    changes.set_admin(chat.id, True, reads_all=False)
    changes.remove_user(chat.id)
    changes.rename(chat.id, "unheard")
    changes.set_admin(chat.id, True)
    changes.move_silently(chat.id, -2)
    changes.remove_bot(chat.id)
    changes.rename(chat.id, "unheard")
    changes.add_bot(chat.id, admin=False)
    await until(lambda: running.world.webhooks.counts["delivered"] == 5)
    told = [(update["update_type"], update.get("is_admin")) for update in sorted_by_time(bot_server.updates)]
    rights = "bot_admin_permissions_changed"
    assert sorted(told, key=str) == sorted(
        [(rights, False), (rights, True), (rights, True), ("bot_removed", None), ("bot_added", None)], key=str
    )
    assert truth.events(running.world)["changes"] == {"total": 4, "told": 0, "silent": 2, "unheard": 2, "missed": 4}


def sorted_by_time(updates: list[Json]) -> list[Json]:
    return sorted(updates, key=lambda update: int(update["timestamp"]))


async def test_oddities_of_real_events(api: Max, running: Running, bot_server: Receiver) -> None:
    odd = {"extra_user_id": 0.5, "unknown_fields": 0.5, "unknown_types": 0.5, "outflow_per_s": 2000}
    running.world.change_settings({"delivery": odd})
    await subscribe(api, bot_server)
    people = moved(running, 60)
    await until(lambda: running.world.outbox.counts["events"] == running.world.webhooks.counts["delivered"])
    known = [update for update in bot_server.updates if update["update_type"] == "user_added"]
    assert sorted(added(known)) == sorted(people)
    assert {update.get("user_id") == update["user"]["user_id"] for update in known} == {False}
    assert {"user_id" in update for update in known} == {True, False}
    assert {"revision" in update for update in known} == {True, False}
    assert 10 < len(bot_server.updates) - len(known) < 50


async def test_a_chat_is_alive_by_its_messages_and_all_are_announced_at_will(
    api: Max, running: Running, bot_server: Receiver
) -> None:
    await subscribe(api, bot_server)
    dialog = chats_of(running, Kind.DIALOG)[0]
    running.world.changes.post(dialog.id)
    announced = running.world.changes.announce()
    new = running.world.changes.new_chat(Kind.CHANNEL, members=7)
    await until(lambda: running.world.webhooks.counts["delivered"] == announced + 2)
    kinds = {update["update_type"] for update in bot_server.updates}
    assert kinds == {"message_created", "bot_added"}
    chats = {update["chat_id"]: update["is_channel"] for update in bot_server.updates if "chat_id" in update}
    assert chats[new] is True
    assert len(chats) == announced + 1 == len(running.world.platform.shared())
    assert await api.count(new) == 7


async def test_no_more_goes_out_in_a_second_than_the_outflow(api: Max, running: Running, bot_server: Receiver) -> None:
    running.world.change_settings({"delivery": {"outflow_per_s": 50}})
    await subscribe(api, bot_server)
    began = asyncio.get_running_loop().time()
    moved(running, 50)
    await until(lambda: running.world.webhooks.counts["delivered"] == 50)
    assert asyncio.get_running_loop().time() - began >= 49 / 50


@pytest.mark.parametrize(
    "url", ["http://bot.example.test/x", "https://bot.example.test:8443/x", "ftp://x", "https://", "https://[x"]
)
async def test_only_https_on_port_443_is_taken_as_in_production(api: Max, running: Running, url: str) -> None:
    running.world.change_settings({"delivery": {"https_only": True}})
    answer = await api.result("/subscriptions", "POST", json={"url": url})
    assert answer["success"] is False
    assert answer["message"]
    assert not running.world.webhooks.active


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": 5},
        {"url": "https://x.test", "secret": "abcd"},
        {"url": "https://x.test", "secret": "with space"},
        {"url": "https://x.test", "update_types": "user_added"},
        [],
    ],
)
async def test_malformed_subscriptions_are_refused(api: Max, body: Any) -> None:
    assert await api.error("/subscriptions", "POST", json=body) == (400, "proto.payload")
    assert await api.error("/subscriptions", "POST", content=b"{") == (400, "proto.payload")


async def test_the_same_url_again_is_the_same_subscription_and_several_urls_all_hear(
    api: Max, running: Running, bot_server: Receiver
) -> None:
    await subscribe(api, bot_server)
    await subscribe(api, bot_server)
    await api.result("/subscriptions", "POST", json={"url": f"{bot_server.url}/second"})
    moved(running, 1)
    await until(lambda: running.world.webhooks.counts["delivered"] == 2)
    assert sorted(map(str, bot_server.secrets)) == sorted(["None", SECRET])


async def test_subscribing_again_to_the_same_url_loses_nothing_that_was_to_come_again(
    api: Max, running: Running, bot_server: Receiver
) -> None:
    bot_server.statuses = [503]
    await subscribe(api, bot_server)
    [who] = moved(running, 1)
    await until(lambda: running.world.webhooks.counts["failed_posts"] == 1)
    again = {"url": bot_server.url, "secret": "fixture_secret_2", "update_types": ["user_added"]}
    assert await api.result("/subscriptions", "POST", json=again) == {"success": True}
    running.world.skip(61)
    await until(lambda: running.world.webhooks.counts["delivered"] == 1)
    assert added(bot_server.updates) == [who, who]
    assert bot_server.secrets[-1] == "fixture_secret_2"
    assert truth.events(running.world)["lost"] == 0
    assert (await api.result("/subscriptions"))["subscriptions"][0]["update_types"] == ["user_added"]


async def test_a_certificate_of_an_unknown_authority_is_a_failed_delivery() -> None:
    """And one of the authority that the platform was told to trust is none."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    settings = Settings(delivery=Delivery(https_only=False), script=Script(changes_per_minute=0))

    async def yes(scope: Any, receive: Any, send: Any) -> None:
        await Response()(scope, receive, send)

    with authority.cert_pem.tempfile() as trusted:
        outcomes = []
        for ca_file in (None, Path(trusted)):
            async with (
                listen(yes, "127.0.0.1", 0, context) as bot,
                serve(Size(chats=3), settings, Serve(webhook_ca_file=ca_file)) as running,
                httpx.AsyncClient(trust_env=False) as client,
            ):
                api = Max(client, running.http, running.token)
                await api.result("/subscriptions", "POST", json={"url": bot.url})
                running.world.changes.add_user(chats_of(running)[0].id)
                counts = running.world.webhooks.counts
                await until(lambda counts=counts: counts["failed_posts"] + counts["delivered"] == 1)  # type: ignore[misc]
                outcomes.append(counts["delivered"])
    assert outcomes == [0, 1]


def test_the_default_pauses_are_the_published_ones() -> None:
    rules = Delivery()
    pauses = [int(rules.retry_first_s * rules.retry_factor**number) for number in range(rules.retries)]
    assert pauses[:7] == [60, 150, 375, 937, 2343, 5859, 14648]
    assert sum(1 for at in itertools.accumulate(pauses) if at < rules.unsubscribe_after_s) == 7
