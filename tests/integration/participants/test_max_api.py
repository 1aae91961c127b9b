"""The adapter against the MAX platform as it is simulated: over real sockets, with its states, limits and faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from chatferry.common.clock import SystemClock
from chatferry.common.errors import OutageError
from chatferry.participants.adapters.max_api import HttpMax, MaxAddress
from chatferry.participants.domain.counts import Answer, MaxChatId, Verdict
from chatferry.participants.ports import LateLeaveError, MaxBusyError, MaxRefusedError, Membership
from chatferry.simulators.max import (
    Api,
    Chat,
    Delivery,
    Fault,
    FaultKind,
    Kind,
    Running,
    Script,
    Serve,
    Settings,
    Size,
    serve,
)
from chatferry.simulators.max import Status as MaxStatus

SETTINGS = Settings(
    api=Api(rate_per_s=0, updates_per_s=0), delivery=Delivery(https_only=False), script=Script(changes_per_minute=0)
)
SIZE = Size(seed=3, chats=20, largest=250, dialogs=0.1, channels=0.2)
TOKEN = "planted-token"


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with serve(SIZE, SETTINGS, Serve(token=TOKEN)) as running:
        yield running


class _Max(HttpMax):
    """The adapter, and the kinds of failures that it told."""

    def __init__(self, running: Running, token: str = TOKEN, answer_s: float = 1.0) -> None:
        self.kinds: list[str] = []
        super().__init__(MaxAddress(running.http, token, answer_s=answer_s), SystemClock(), self.kinds.append)


@pytest.fixture
async def api(running: Running) -> AsyncIterator[_Max]:
    api = _Max(running)
    yield api
    await api.close()


def _one(running: Running, kind: Kind = Kind.CHAT) -> Chat:
    return next(chat for chat in running.world.platform.chats.values() if chat.kind is kind)


async def test_every_chat_counts_what_the_platform_knows(running: Running, api: _Max) -> None:
    for chat in running.world.platform.chats.values():
        answer = await api.chat(MaxChatId(chat.id))
        assert (answer.verdict, answer.count) == (Verdict.COUNTED, 2 if chat.kind is Kind.DIALOG else chat.count)


@pytest.mark.parametrize("nothing", ["null", "absent"])
async def test_both_spellings_of_nothing_are_understood(running: Running, api: _Max, nothing: str) -> None:
    running.world.change_settings({"api": {"nothing": nothing}})
    answer = await api.chat(MaxChatId(_one(running, Kind.DIALOG).id))
    assert (answer.count, answer.title) == (2, None)


async def test_a_chat_without_the_bot_is_no_count(running: Running, api: _Max) -> None:
    chat = _one(running)
    running.world.changes.remove_bot(chat.id, MaxStatus.REMOVED)
    answer = await api.chat(MaxChatId(chat.id))
    assert answer.verdict in (Verdict.GONE, Verdict.DENIED)
    assert answer.count is None
    assert (await api.chat(MaxChatId(-(2**61)))).verdict is Verdict.GONE


async def test_rights_are_those_that_the_platform_gave(running: Running, api: _Max) -> None:
    chat = _one(running)
    running.world.changes.set_admin(chat.id, True, True)
    assert await api.membership(MaxChatId(chat.id)) == Membership(trusted=True)
    running.world.changes.set_admin(chat.id, True, False)
    assert await api.membership(MaxChatId(chat.id)) == Membership(trusted=False)
    running.world.changes.set_admin(chat.id, False)
    assert await api.membership(MaxChatId(chat.id)) == Membership(trusted=False)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_wrong_token_is_refused_in_both_forms(running: Running, status: int) -> None:
    running.world.change_settings({"api": {"auth_status": status}})
    stranger = _Max(running, "another")
    with pytest.raises(MaxRefusedError):
        await stranger.chat(MaxChatId(_one(running).id))
    assert stranger.kinds == ["refused"]
    await stranger.close()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (FaultKind.SERVER_ERROR, "server"),
        (FaultKind.UNAVAILABLE, "server"),
        (FaultKind.HTML_502, "server"),
        (FaultKind.NOT_JSON, "body"),
        (FaultKind.CUT_BODY, "connection"),
        (FaultKind.RESET, "connection"),
        (FaultKind.SLOW, "timeout"),
    ],
)
async def test_a_fault_is_an_outage_and_the_next_read_is_fine(
    running: Running, api: _Max, kind: FaultKind, told: str
) -> None:
    chat = _one(running)
    running.world.faults.add(Fault(kind, "/chats/{id}", count=1, delay_s=5))
    with pytest.raises(OutageError) as away:
        await api.chat(MaxChatId(chat.id))
    assert (away.value.part, api.kinds) == ("max", [told])
    assert (await api.chat(MaxChatId(chat.id))).count == chat.count


@pytest.mark.parametrize(
    ("kind", "answer"),
    [(FaultKind.DENIED, Answer(Verdict.DENIED)), (FaultKind.NOT_FOUND, Answer(Verdict.GONE))],
)
async def test_a_refusal_of_one_chat_is_about_it(running: Running, api: _Max, kind: FaultKind, answer: Answer) -> None:
    running.world.faults.add(Fault(kind, "/chats/{id}", count=1))
    assert await api.chat(MaxChatId(_one(running).id)) == answer
    assert api.kinds == [kind.value]


@pytest.mark.parametrize(("told", "heard"), [(None, None), (7, 7.0)])
async def test_too_many_calls_are_told_apart(
    running: Running, api: _Max, told: float | None, heard: float | None
) -> None:
    running.world.faults.add(Fault(FaultKind.RATE_LIMIT, count=1, retry_after_s=told))
    with pytest.raises(MaxBusyError) as busy:
        await api.chat(MaxChatId(_one(running).id))
    assert (busy.value.retry_after_s, api.kinds) == (heard, ["busy"])


async def test_a_call_is_sent_once_it_is_ready_and_not_at_all_where_that_fails(running: Running, api: _Max) -> None:
    chat, seen = _one(running), list[int]()

    def arrived() -> int:
        total: int = running.world.traffic.summary(0)["total"]
        return total

    async def ready() -> None:
        await asyncio.sleep(0.05)
        seen.append(arrived())

    async def late() -> None:
        raise LateLeaveError

    for call in (api.chat, api.membership):
        before = arrived()
        with pytest.raises(LateLeaveError):
            await call(MaxChatId(chat.id), late)
        await call(MaxChatId(chat.id), ready)
        assert seen.pop() == before
        assert arrived() == before + 1
    assert api.kinds == []


async def test_fifty_reads_at_once_are_all_answered(running: Running) -> None:
    api = _Max(running, answer_s=10.0)
    chats = [chat for chat in running.world.platform.chats.values() if chat.kind is Kind.CHAT] * 5
    answers = await asyncio.gather(*(api.chat(MaxChatId(chat.id)) for chat in chats[:50]))
    assert [answer.count for answer in answers] == [chat.count for chat in chats[:50]]
    await api.close()


async def test_a_subscription_that_was_made_is_there_and_may_be_made_again(running: Running, api: _Max) -> None:
    url = "http://127.0.0.1:9/max/updates"
    assert not await api.subscribed(url, ["user_added"])
    for _ in range(2):
        await api.subscribe(url, "a-secret", ["user_added", "user_removed"])
    assert await api.subscribed(url, ["user_removed", "user_added"])
    assert not await api.subscribed(url, ["bot_added"])
    assert len(running.world.webhooks.rows()) == 1


async def test_a_webhook_is_counted_whoever_subscribed_it(running: Running, api: _Max) -> None:
    assert await api.webhooks() == 0
    await api.subscribe("http://127.0.0.1:9/somebody/elses", "a-secret", ["user_added"])
    assert await api.webhooks() == 1


async def test_a_subscription_that_max_does_not_take_is_a_failure(running: Running, api: _Max) -> None:
    running.world.change_settings({"delivery": {"https_only": True}})
    with pytest.raises(OutageError):
        await api.subscribe("http://127.0.0.1:9/max/updates", "a-secret", [])


async def test_events_come_by_long_polling_each_once(running: Running, api: _Max) -> None:
    chat = _one(running)
    running.world.changes.set_admin(chat.id, True, True)
    running.world.changes.add_user(chat.id)
    first, marker = await api.updates(None)
    running.world.changes.remove_user(chat.id)
    second, _ = await api.updates(marker)
    assert [update.type for update, _ in first if update.chat == chat.id] == ["user_added"]
    assert [update.type for update, _ in second if update.chat == chat.id] == ["user_removed"]
