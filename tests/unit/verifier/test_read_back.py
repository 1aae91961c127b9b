"""What the verifier makes of a target that answers oddly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import orjson
import pytest
from tests.unit.bodies import endless, trickling

from chatferry.common.clock import SystemClock
from chatferry.common.entities import ENTITIES
from chatferry.common.errors import OutageError
from chatferry.common.telemetry.metrics import Metrics
from chatferry.verifier.adapters.target import HttpTarget

CHATS = ENTITIES["chats"]


async def _outage(answer: httpx.Response) -> OutageError:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer)) as http:
        target = HttpTarget(http, "http://target/rest/1/abcdefgh-secret", 500, Metrics(), SystemClock())
        with pytest.raises(OutageError) as away:
            await target.count(CHATS)
    assert "secret" not in f"{away.value} {away.value.__cause__}"
    return away.value


@pytest.mark.parametrize(("told", "waits"), [("7", 7.0), ("99999999", 60.0), ("soon", None)])
async def test_a_target_is_waited_for_as_long_as_it_asks_but_a_minute_at_most(told: str, waits: float | None) -> None:
    away = await _outage(httpx.Response(503, headers={"retry-after": told}))
    assert away.retry_after_s == waits


async def test_a_moment_that_the_target_asks_to_wait_for_is_told_by_its_own_clock() -> None:
    told = {"retry-after": "Mon, 05 May 2025 05:05:25 GMT", "date": "Mon, 05 May 2025 05:05:05 GMT"}
    assert (await _outage(httpx.Response(429, headers=told))).retry_after_s == 20.0


async def test_an_answer_that_cannot_be_unpacked_is_an_outage() -> None:
    await _outage(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"plain")))


@pytest.mark.parametrize(
    "body", [b"<html>be back soon</html>", b"", b'{"status": "maintenance"}', b'{"count": -1}', b"[]"]
)
async def test_a_page_in_the_targets_place_is_an_outage_and_no_difference(body: bytes) -> None:
    away = await _outage(httpx.Response(200, content=body))
    assert "wait until the target is back, or correct its URL" in away.sentence


@pytest.mark.parametrize("body", [trickling, endless])
@pytest.mark.parametrize("method", ["page", "get", "count"])
async def test_an_answer_that_does_not_end_is_an_outage(method: str, body: Callable[[], AsyncIterator[bytes]]) -> None:
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=body())), timeout=0.5
    ) as http:
        target = HttpTarget(http, "http://target/rest/1/abcdefgh-secret", 500, Metrics(), SystemClock())
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "page": lambda: target.page(CHATS, None, None),
            "get": lambda: target.get(CHATS, ["source:chat:1"]),
            "count": lambda: target.count(CHATS),
        }
        with pytest.raises(OutageError):
            await asyncio.wait_for(calls[method](), 10)


async def test_after_a_page_that_is_too_long_fewer_records_are_asked_for() -> None:
    limits: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        limits.append(orjson.loads(request.content)["limit"])
        return httpx.Response(200, content=endless() if limits[-1] > 1 else b'{"items":[],"next":null}')

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        target = HttpTarget(http, "http://target/rest/1/abcdefgh-secret", 500, Metrics(), SystemClock())
        for _ in range(2):
            with pytest.raises(OutageError):
                await target.page(CHATS, None, None)
        assert (await target.page(CHATS, None, None)).items == []
    assert limits == [500, 31, 1]
