"""A portal that misbehaves, hides, vanishes or offers other methods: everything arrives, or its lack has a name."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.extractor.conftest import small_portal
from tests.integration.extractor.extractor_world import World, a_world

from chatferry.common.entities.reading import Answer, Command, Refusal
from chatferry.common.portal.bucket import Limits
from chatferry.common.portal.client import PortalClient
from chatferry.extractor.steps.parts import Parts
from chatferry.simulators.bitrix24 import (
    Fault,
    FaultKind,
    GeneratorSettings,
    PortalSettings,
    Quirks,
    RateBucket,
    generate,
)
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
_METHODS = ("users", "im.dialog.*")


class _Passing:
    """The portal as it is; a test changes what batches bring."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def call(self, webhook: int, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        answer: Answer = await self.inner.call(webhook, method, params)
        return answer


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.QUERY_LIMIT, "batch", count=1, skip=3),
        Fault(FaultKind.HTML_502, "batch", count=2, skip=2),
        Fault(FaultKind.SLOW, "batch", count=1, delay_s=0.3, skip=2),
        Fault(FaultKind.CUT_BODY, "batch", count=2, skip=2),
        Fault(FaultKind.RESET, "batch", count=2, skip=2),
        Fault(FaultKind.SERVER_ERROR, "batch", count=2, skip=2),
        Fault(FaultKind.SERVER_ERROR, "im.dialog.messages.get", probability=0.2, count=8),
        Fault(FaultKind.SERVER_ERROR, "im.user.list.get", count=2),
        Fault(FaultKind.HALF_BATCH, "im.*", probability=0.3, count=15),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.methods}",
)
async def test_everything_arrives_in_spite_of(world: World, fault: Fault) -> None:
    if fault.kind is FaultKind.HALF_BATCH:
        # Four commands a walk: most of its requests lack one, and that is no reason to give the walk up here.
        world.sizes = replace(world.sizes, retry_after_s=(0.0, *[0.05] * 9))
    world.running.faults.add(replace(fault))
    run = await world.get()
    assert world.running.statistics.faults[fault.kind] > 0
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()
    await world.assert_intervals(run["_id"])
    strangers = [row async for row in world.database.source_inventory.find({"kind": "stranger"})]
    users = set(await world.stored("users"))
    assert {row["seq"] for row in strangers if row["state"] == "resolved"} == users
    assert all(row["seq"] == max(world.portal.users) for row in strangers if row["state"] == "unresolvable")


async def test_activity_while_it_is_read_leaves_no_hole(world: World) -> None:
    world.sizes = replace(world.sizes, batch_commands=6, page_size=5)
    world.running.board.start_activity(300, seed=4)
    try:
        run = await world.get()
    finally:
        world.running.board.stop_activity()
    await world.assert_balanced()
    await world.assert_intervals(run["_id"])
    await world.get()
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()


async def test_a_chat_that_vanishes_in_mid_read_is_a_row_with_a_reason_and_the_rest_arrives(world: World) -> None:
    world.sizes = replace(world.sizes, batch_commands=6, page_size=5)
    chat = max(world.portal.chats.values(), key=lambda one: len(one.log)).id

    class Vanishing(_Passing):
        async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
            row = await world.database.source_inventory.find_one({"seq": chat, "kind": "root"})
            if row and row["listed"] and chat in world.portal.chats:
                world.running.changes.remove_chat(chat)
            return list(await self.inner.batch(webhook, commands))

    run = await world.get(hook=lambda parts: replace(parts, portal=Vanishing(parts.portal)))
    assert run["state"] == "completed"
    row = (await world.rows())[chat]
    assert (row["state"], row["gap"] > 0) == ("unreadable", True)
    assert "ACCESS_ERROR" in row["reason"]
    assert {one["state"] for seq, one in (await world.rows()).items() if seq != chat} == {"closed"}
    await world.assert_balanced(due=row["listed"] + row["absent"])


async def test_a_chat_that_fails_three_times_is_a_row_with_a_reason(world: World) -> None:
    chat = next(iter(world.portal.chats))

    class Failing(_Passing):
        def __init__(self, inner: Any) -> None:
            super().__init__(inner)
            self.asked: Counter[str] = Counter()

        async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
            answers = await self.inner.batch(webhook, commands)
            for position, command in enumerate(commands):
                if command.method == "im.dialog.get" and command.params["DIALOG_ID"] == f"chat{chat}":
                    self.asked[command.method] += 1
                    answers[position] = Answer(refusal=Refusal("INTERNAL_SERVER_ERROR", transient=True))
            return list(answers)

    failing = Failing(None)

    def hook(parts: Parts) -> Parts:
        failing.inner = parts.portal
        return replace(parts, portal=failing)

    await world.get(hook=hook)
    row = (await world.rows())[chat]
    assert row["state"] == "failed"
    assert failing.asked["im.dialog.get"] == 3
    await world.assert_balanced()


async def test_hidden_history_is_a_gap_that_is_named(stack: Addresses, topics: str) -> None:
    portal = small_portal()
    chat = next(one for one in portal.chats.values() if 1 in one.members and len(one.log) > 10)
    chat.members[1] = chat.log.ids[5]
    async with a_world(stack, portal, webhooks=[1], topics_of=topics) as world:
        await world.get()
        row = (await world.rows())[chat.id]
        assert (row["gap"], row["walks"]) == (5, 1)
        assert "hidden history" in row["reason"]
        await world.assert_balanced()


async def test_unread_windows_hide_no_message(stack: Addresses, topics: str) -> None:
    portal = generate(GeneratorSettings(seed=9, users=14, chats=6, messages=400, unread_share=1.0))
    async with a_world(stack, portal, topics_of=topics) as world:
        run = await world.get()
        await world.assert_equal_to_the_portal()
        await world.assert_intervals(run["_id"])


async def test_views_of_several_employees_are_merged_and_each_chat_is_read_once(stack: Addresses, topics: str) -> None:
    portal = generate(GeneratorSettings(seed=2, users=8, chats=14, messages=200, bot_share=0))
    employees = [user.id for user in portal.users.values() if user.listed and not user.bot][:3]
    seen = {one.id for one in portal.chats.values() if set(employees) & one.members.keys()}
    private = {one.id for one in portal.chats.values() if one.message_type == "P" and one.id in seen}
    async with a_world(stack, portal, webhooks=employees, topics_of=topics) as world:
        run = await world.get()
        rows = await world.rows()
        assert rows.keys() == seen
        assert private
        assert {row["state"] for row in rows.values()} == {"closed"}
        for seq, row in rows.items():
            wanted = {user for user in employees if user in portal.chats[seq].members}
            assert {view["webhook"] for view in row["views"]} == wanted
            assert await world.database.page_log.count_documents({"parent": seq, "run": run["_id"]}) > 0
            assert len(await world.database.page_log.distinct("webhook", {"parent": seq})) == 1
        stored = await world.stored("chat_messages")
        assert {number for seq in seen for number in portal.chats[seq].log.ids} == stored.keys()
        await world.assert_intervals(run["_id"])


async def test_a_chat_that_one_webhook_may_not_read_any_more_is_read_through_another(
    stack: Addresses, topics: str
) -> None:
    portal = generate(GeneratorSettings(seed=2, users=8, chats=14, messages=200, bot_share=0))
    chat = next(one for one in portal.chats.values() if one.message_type == "C" and {1, 3} <= one.members.keys())
    async with a_world(stack, portal, webhooks=[1, 3], topics_of=topics) as world:
        first = world.webhooks[chat.id % 2]

        class Excluded(_Passing):
            async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
                row = await world.database.source_inventory.find_one({"seq": chat.id, "kind": "root"})
                if row and len(row["views"]) == 2:
                    chat.members.pop(row["views"][chat.id % 2]["webhook"], None)
                    portal.changed()
                return list(await self.inner.batch(webhook, commands))

        assert first in (1, 3)
        await world.get(hook=lambda parts: replace(parts, portal=Excluded(parts.portal)))
        row = (await world.rows())[chat.id]
        assert (row["state"], row["gap"]) == ("closed", 0)
        await world.assert_balanced()


async def test_the_planning_method_is_used_where_the_portal_has_it(stack: Addresses, topics: str) -> None:
    rules = PortalSettings(quirks=Quirks(planning_message_list=True))
    async with a_world(stack, small_portal(), rules, topics_of=topics) as world:
        run = await world.get()
        assert run["method"] == "im.chat.message.list"
        assert await world.database.page_log.distinct("method") == ["im.chat.message.list"]
        assert world.running.statistics.commands["im.dialog.messages.get"] == 0
        await world.assert_equal_to_the_portal()
        await world.assert_intervals(run["_id"])


async def test_a_planning_method_that_does_not_reach_the_claim_gives_way_to_the_real_one(
    stack: Addresses, topics: str
) -> None:
    rules = PortalSettings(quirks=Quirks(planning_message_list=True))
    async with a_world(stack, small_portal(), rules, topics_of=topics) as world:

        class Short(_Passing):
            """Never shows the last message."""

            async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
                answers = await self.inner.batch(webhook, commands)
                for command, answer in zip(commands, answers, strict=True):
                    if command.method == "im.chat.message.list" and answer.result and answer.result["messages"]:
                        answer.result["messages"].pop()
                return list(answers)

        run = await world.get(hook=lambda parts: replace(parts, portal=Short(parts.portal)))
        rows = await world.rows()
        assert {row["method"] for row in rows.values() if row["claimed"]} == {"im.dialog.messages.get"}
        await world.assert_equal_to_the_portal()
        await world.assert_balanced()
        await world.assert_intervals(run["_id"])


async def test_a_test_limit_lists_some_chats_and_their_newest_messages(world: World) -> None:
    run = await world.get(test_limit=2)
    rows = await world.rows()
    assert len(rows) == 2
    stored = await world.stored("chat_messages")
    assert stored.keys() == {number for seq in rows for number in list(world.truth(seq))[-2:]}
    assert {row["reason"] for row in rows.values() if row["claimed"] > 2} <= {
        "test limit: only the newest were asked for"
    }
    assert run["state"] == "completed"


async def test_strangers_are_resolved_once_and_are_none_when_the_list_has_them(world: World) -> None:
    await world.get("users")
    await world.get()
    bots = {user.id for user in world.portal.users.values() if user.bot}
    users = await world.stored("users")
    assert bots & users.keys()
    assert all(users[number]["payload"]["bot"] for number in bots & users.keys())
    total = await world.account("users")
    assert (total.balanced, total.due, total.read) == (True, 0, len(users))
    for number in bots:
        world.portal.put_user(replace(world.portal.users[number], bot=False))
    await world.get("users")
    total = await world.account("users")
    assert total.balanced
    assert total.read == len(await world.stored("users"))


async def test_a_user_whom_nobody_knew_is_asked_for_again_by_the_next_run(world: World) -> None:
    await world.get()
    row = await world.database.source_inventory.find_one({"kind": "stranger", "state": "resolved"})
    assert row is not None
    await world.database.source_inventory.update_one({"_id": row["_id"]}, {"$set": {"state": "unresolvable"}})
    await world.database.users.delete_one({"seq": row["seq"]})
    await world.get()
    assert row["seq"] in await world.stored("users")


async def test_two_processes_share_one_bucket_and_are_never_refused(stack: Addresses, topics: str) -> None:
    limits = Limits(capacity=6, per_second=20.0, reserve=1)
    rules = PortalSettings(bucket=RateBucket(6, 20.0))
    async with a_world(stack, small_portal(), rules, topics_of=topics) as world:
        one, other = world.portal_client(limits), world.portal_client(limits)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def one_after_the_other(client: PortalClient) -> None:
            for _ in range(30):
                await client.call(world.webhooks[0], "server.time")

        # The reserve is for requests that come late: one less than may be under way at once.
        await asyncio.gather(one_after_the_other(one), one_after_the_other(other))
        spent = loop.time() - began
        assert world.running.statistics.errors["QUERY_LIMIT_EXCEEDED"] == 0
        assert world.running.statistics.requests["server.time"] == 60
        assert 60 / spent > 0.7 * 20


async def test_a_missing_bucket_is_a_full_one(stack: Addresses, topics: str) -> None:
    limits = Limits(capacity=10, per_second=10.0, reserve=0)
    async with a_world(stack, small_portal(), topics_of=topics) as world:
        client = world.portal_client(limits)
        await world.redis.delete(f"chatferry:portal:{client.host}:bucket")
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(5):
            await client.call(world.webhooks[0], "server.time")
        assert loop.time() - began >= 0.4


async def test_a_method_over_its_operating_time_is_left_alone_until_it_may_be_called(world: World) -> None:
    world.running.faults.add(Fault(FaultKind.OPERATION_LIMIT, "im.dialog.users.list", count=1))

    class Impatient(_Passing):
        """The test's time: an hour of the portal is a tenth of a second."""

        def __init__(self, inner: Any) -> None:
            super().__init__(inner)
            self.later: list[float] = []

        async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
            answers = await self.inner.batch(webhook, commands)
            meters = f"chatferry:portal:{world.portal_client().host}:operating:{webhook}"
            quick = []
            for answer in answers:
                refusal = answer.refusal
                if refusal is not None and refusal.later_s is not None:
                    self.later.append(refusal.later_s)
                    await world.redis.delete(meters)
                    refusal = replace(refusal, later_s=0.05)
                quick.append(replace(answer, refusal=refusal))
            return quick

    impatient = Impatient(None)

    def hook(parts: Parts) -> Parts:
        impatient.inner = parts.portal
        return replace(parts, portal=impatient)

    await world.get(hook=hook)
    assert any(later > 50 for later in impatient.later)
    await world.assert_equal_to_the_portal()
    assert {row["state"] for row in (await world.rows()).values()} == {"closed"}
