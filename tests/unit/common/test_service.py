"""What a service says of itself while a part is away."""

from __future__ import annotations

import asyncio
import inspect
import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount

from chatferry.common import service
from chatferry.common.adapters.mongo import open_client
from chatferry.common.errors import OutageError


def test_a_part_counts_as_back_only_after_longer_than_it_takes_to_find_out_that_it_is_away() -> None:
    looks_for_ms = inspect.signature(open_client).parameters["timeout_ms"].default
    assert looks_for_ms / 1000 + 1 < service._CALM_S


async def test_parts_that_were_away_one_after_the_other_are_all_back_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "_CALM_S", 0.05)
    monkeypatch.setattr(service, "_FIRST_WAIT_S", 0.001)
    context, away = service.Context(), ["mongodb", "kafka"]

    async def work(_: service.Context) -> None:
        if away:
            raise OutageError(away.pop(0), "it is away")
        await context.stopping.wait()

    working = asyncio.create_task(service._keep_working(work, context))
    async with asyncio.timeout(5):
        while away or context.health.outages:  # noqa: ASYNC110 - health tells nobody
            await asyncio.sleep(0.005)
        context.stopping.set()
        await working


async def test_a_part_that_answered_is_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_FIRST_WAIT_S", 0.001)
    context, away = service.Context(), ["mongodb", "mongodb"]
    seen: list[set[str]] = []

    async def work(_: service.Context) -> None:
        seen.append(set(context.health.outages))
        if away:
            raise OutageError(away.pop(), "it is away")
        context.reached("mongodb", "kafka")
        seen.append(set(context.health.outages))
        context.stopping.set()

    async with asyncio.timeout(5):
        await service._keep_working(work, context)
    assert seen == [set(), {"mongodb"}, {"mongodb"}, set()]
    assert context.metrics.registry.get_sample_value("outage", {"part": "mongodb"}) == 0


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
async def test_metrics_are_where_prometheus_looks_by_default_also_beside_a_services_own_root(path: str) -> None:
    context = service.Context()
    root = Mount("/", app=Response(status_code=404))
    app = Starlette(routes=[*service._own_routes(context), root])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as http:
        answer = await http.get(path)
    assert answer.status_code == 200
    assert "outage" in answer.text


def test_a_port_that_is_taken_may_be_free_at_the_next_start(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as ended:
        service._listen("127.0.0.1", taken.getsockname()[1])
    assert ended.value.code == 1
    assert "cannot be bound (Address already in use); give another port, or 0" in capsys.readouterr().err


def test_an_address_that_is_not_this_machines_is_for_a_person_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        service._listen("192.0.2.1", 0)
    assert ended.value.code == service.EXIT_FATAL
    assert "192.0.2.1:0 cannot be bound" in capsys.readouterr().err
