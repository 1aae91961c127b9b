"""30 calls in any second and no more; what breaks on demand, and how it looks to the caller."""

import asyncio
import contextlib
import time

import httpx
import pytest
from tests.contract.simulators.max.helpers import Max, chats_of, until

from chatferry.simulators.max import Fault, FaultKind, Running

CHAT = "/chats/{id}"


async def test_no_second_admits_more_than_the_limit_and_the_log_knows_all(api: Max, running: Running) -> None:
    running.world.change_settings({"api": {"rate_per_s": 30}})
    answers = [(time.monotonic(), await api.call("/me")) for _ in range(70)]
    admitted = [moment for moment, answer in answers if answer.status_code == 200]
    assert len(admitted) >= 30
    most = max(sum(moment <= other < moment + 0.98 for other in admitted) for moment in admitted)
    assert most <= 30
    calls = running.world.traffic.summary()
    assert calls["total"] == 70
    assert calls["by_status"] == {"200": len(admitted), "429": 70 - len(admitted)}
    assert calls["max_in_any_second"] > 30


async def test_updates_have_a_limit_of_their_own(api: Max, running: Running) -> None:
    running.world.change_settings({"api": {"updates_per_s": 2, "retry_after": "always"}})
    answers = [await api.call("/updates", params={"timeout": 0}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert (await api.call("/me")).status_code == 200


@pytest.mark.parametrize(("mode", "said"), [("always", {True}), ("never", {False}), ("sometimes", {True, False})])
async def test_a_429_says_when_to_come_again_or_does_not(
    api: Max, running: Running, mode: str, said: set[bool]
) -> None:
    running.world.change_settings({"api": {"rate_per_s": 1, "retry_after": mode}})
    answers = [await api.call("/me") for _ in range(40)]
    refused = [answer.headers for answer in answers if answer.status_code == 429]
    assert {"retry-after" in headers for headers in refused} == said
    assert {headers.get("retry-after", "1") for headers in refused} == {"1"}


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (FaultKind.UNAUTHORIZED, 401, "verify.token"),
        (FaultKind.DENIED, 403, "chat.denied"),
        (FaultKind.NOT_FOUND, 404, "not.found"),
        (FaultKind.RATE_LIMIT, 429, "too.many.requests"),
        (FaultKind.SERVER_ERROR, 500, "internal.error"),
        (FaultKind.UNAVAILABLE, 503, "service.unavailable"),
    ],
)
async def test_one_chat_fails_so_many_times_and_the_others_never(
    api: Max, running: Running, kind: FaultKind, status: int, code: str
) -> None:
    sick, well = chats_of(running)[:2]
    running.world.faults.add(Fault(kind, paths=CHAT, chat_id=sick.id, count=2, retry_after_s=7))
    assert [await api.error(f"/chats/{sick.id}") for _ in range(2)] == [(status, code)] * 2
    await api.result(f"/chats/{well.id}")
    await api.result(f"/chats/{sick.id}/members/me")
    await api.result(f"/chats/{sick.id}")
    assert running.world.faults.given == {kind: 2}


async def test_errors_that_are_no_json(api: Max, running: Running) -> None:
    for kind, status in ((FaultKind.HTML_502, 502), (FaultKind.NOT_JSON, 200)):
        running.world.faults.add(Fault(kind, count=1))
        answer = await api.call("/me")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert answer.text.startswith("<html>")


@pytest.mark.parametrize("kind", [FaultKind.CUT_BODY, FaultKind.RESET])
async def test_broken_connections(api: Max, running: Running, kind: FaultKind) -> None:
    chat = chats_of(running)[0]
    running.world.faults.add(Fault(kind, count=1))
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await api.call(f"/chats/{chat.id}")
    assert running.world.traffic.summary()["by_status"] == {"0": 1}
    await api.result(f"/chats/{chat.id}")


async def test_a_slow_answer_comes_late(api: Max, running: Running) -> None:
    running.world.faults.add(Fault(FaultKind.SLOW, count=1, delay_s=0.3))
    began = time.monotonic()
    await api.result("/me")
    assert time.monotonic() - began >= 0.3


async def test_two_reads_of_a_chat_at_once_are_noticed_and_those_in_turn_are_not(api: Max, running: Running) -> None:
    first, second = chats_of(running)[:2]
    running.world.change_settings({"api": {"latency_s": 0.2}})
    await asyncio.gather(api.count(first.id), api.count(second.id))
    await api.count(first.id)
    assert running.world.traffic.summary()["reads_twice_at_once"] == 0
    await asyncio.gather(api.count(first.id), api.count(first.id), api.result(f"/chats/{first.id}/members/me"))
    calls = running.world.traffic.summary()
    assert (calls["reads"], calls["reads_twice_at_once"], calls["in_flight_now"]) == (5, 1, 0)
    assert [row["chat_id"] for row in running.world.traffic.doubled()] == [first.id]
    assert running.world.traffic.reads_by_chat() == {first.id: 4, second.id: 1}


async def test_the_read_of_a_caller_that_hangs_up_is_over(api: Max, running: Running) -> None:
    """Else whoever takes over for a process that was killed would be blamed for reading twice."""
    chat = chats_of(running)[0]
    running.world.faults.add(Fault(FaultKind.SLOW, count=1, delay_s=60))
    async with httpx.AsyncClient(trust_env=False) as dying:
        call = asyncio.create_task(Max(dying, api.url, api.token).call(f"/chats/{chat.id}"))
        await until(lambda: running.world.traffic.summary()["in_flight_now"] == 1)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
    await until(lambda: running.world.traffic.summary()["in_flight_now"] == 0)
    await api.count(chat.id)
    assert running.world.traffic.summary()["reads_twice_at_once"] == 0


async def test_thousands_of_reads_are_carried(api: Max, running: Running) -> None:
    """Far more than the thirty a second that the platform ever lets in."""
    chats = list(running.world.platform.chats)
    began = time.process_time()
    for number in range(1000):
        await api.call(f"/chats/{chats[number % len(chats)]}")
    # Client and platform together in this one process: a platform that costs a tenth of a core at 30 calls a second.
    assert (time.process_time() - began) / 1000 < 1 / 300
