"""What the portal refuses when asked too often, and what it does wrong on demand."""

import httpx
import pytest
from tests.contract.simulators.bitrix24.helpers import Rest

from chatferry.simulators.bitrix24 import Fault, FaultKind, Portal, PortalSettings, RateBucket, Running, serve, truth


async def test_the_bucket_refuses_what_overflows_and_drains_with_the_portals_clock(
    portal: Portal, client: httpx.AsyncClient
) -> None:
    async with serve(portal, PortalSettings(bucket=RateBucket(5, 0.001))) as running:
        rest = Rest(client, running.webhook_url(1))
        other = Rest(client, running.webhook_url(max(portal.users)))
        for number in range(5):
            await (rest if number % 2 else other).result("server.time")
        assert await rest.error("server.time") == (503, "QUERY_LIMIT_EXCEEDED")
        assert await other.error("batch") == (503, "QUERY_LIMIT_EXCEEDED")
        running.board.set_bucket(RateBucket(5, 1000))
        await rest.result("server.time")
        assert running.statistics.errors["QUERY_LIMIT_EXCEEDED"] == 2


async def test_operating_time_blocks_one_method_of_one_webhook_until_its_slot_is_old(
    portal: Portal, client: httpx.AsyncClient
) -> None:
    settings = PortalSettings(operating_limit_s=10, operating_cost_s={"user.get": 6})
    async with serve(portal, settings) as running:
        rest = Rest(client, running.webhook_url(1))
        times = [(await rest.answer("user.get")).json()["time"] for _ in range(2)]
        assert [time["operating"] for time in times] == [6, 12]
        assert times[1]["operating_reset_at"] == pytest.approx(times[1]["start"] + 600, abs=70)
        assert await rest.error("user.get") == (429, "OPERATION_TIME_LIMIT")
        batch = await rest.result("batch", {"cmd": {"u": "user.get", "t": "server.time"}})
        assert batch["result_error"]["u"]["error"] == "OPERATION_TIME_LIMIT"
        assert batch["result"]["t"]
        await Rest(client, running.webhook_url(max(portal.users))).result("user.get")
        running.board.clock.set_speed(1_000_000)
        await rest.result("server.time")
        running.board.clock.set_speed(1)
        await rest.result("user.get")


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (FaultKind.QUERY_LIMIT, 503, "QUERY_LIMIT_EXCEEDED"),
        (FaultKind.OPERATION_LIMIT, 429, "OPERATION_TIME_LIMIT"),
        (FaultKind.SERVER_ERROR, 500, "INTERNAL_SERVER_ERROR"),
    ],
)
async def test_an_injected_error_comes_as_often_as_it_was_asked_for(
    running: Running, owner: Rest, kind: FaultKind, status: int, code: str
) -> None:
    running.faults.add(Fault(kind, "user.*", count=2, skip=1))
    await owner.result("user.get")
    await owner.result("server.time")
    assert [await owner.error("user.get") for _ in range(2)] == [(status, code)] * 2
    await owner.result("user.get")
    assert running.statistics.faults == {kind: 2}
    [met] = truth.statistics(running.board.engine)["faults_by_method"]
    assert met == {"kind": kind, "method": "user.get", "count": 2}


async def test_a_page_of_the_proxy_is_no_json(running: Running, owner: Rest) -> None:
    running.faults.add(Fault(FaultKind.HTML_502, count=1))
    answer = await owner.answer("batch")
    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("tls", [False, True])
async def test_a_cut_body_and_a_reset_are_transport_errors_and_the_next_call_works(
    running: Running, client: httpx.AsyncClient, tls: bool
) -> None:
    rest = Rest(client, running.webhook_url(1, tls=tls))
    running.faults.add(Fault(FaultKind.CUT_BODY, "user.get", count=1))
    with pytest.raises(httpx.RemoteProtocolError):
        await rest.answer("user.get")
    running.faults.add(Fault(FaultKind.RESET, "user.get", count=1))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await rest.answer("user.get")
    assert (await rest.answer("user.get")).status_code == 200


async def test_a_slow_answer_is_late_and_right(running: Running, owner: Rest) -> None:
    running.faults.add(Fault(FaultKind.SLOW, count=1, delay_s=0.3))
    answer = await owner.answer("profile")
    assert answer.elapsed.total_seconds() >= 0.3
    assert answer.status_code == 200


async def test_half_a_batch_fails_command_by_command(running: Running, owner: Rest) -> None:
    running.faults.add(Fault(FaultKind.HALF_BATCH, "im.*", probability=0.5))
    cmd = {f"c{number}": "im.dialog.get?DIALOG_ID=chat11" for number in range(40)} | {"t": "server.time"}
    batch = await owner.result("batch", {"cmd": cmd})
    assert len(batch["result"]) + len(batch["result_error"]) == 41
    assert 8 <= len(batch["result_error"]) <= 32
    assert "t" in batch["result"]
    assert {error["error"] for error in batch["result_error"].values()} == {"INTERNAL_SERVER_ERROR"}
    assert (await owner.answer("im.dialog.get", {"DIALOG_ID": "chat11"})).status_code == 200
