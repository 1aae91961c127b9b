from __future__ import annotations

import asyncio
import gc
import gzip
import weakref
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from chatferry.common.adapters.http import TooLargeError, post


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_response_and_its_request_are_freed_at_once_without_the_garbage_collector() -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=b"x"))) as client:
        response = await post(client, "http://portal.test/", b"y")
        assert response.content == b"x"
        freed: list[weakref.ref[object]] = [weakref.ref(response), weakref.ref(response.request)]

        del response

        assert [one() for one in freed] == [None, None]


async def test_an_answer_comes_unpacked_with_its_status_and_headers() -> None:
    packed = {"content-encoding": "gzip", "retry-after": "3"}
    response = httpx.Response(429, headers=packed, content=gzip.compress(b"later"))
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: response)) as client:
        answer = await post(client, "http://portal.test/", b"", at_most=5)

    assert (answer.status_code, answer.content, answer.headers["retry-after"]) == (429, b"later", "3")


async def test_of_an_answer_that_is_too_long_the_rest_is_not_read() -> None:
    read = []

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            read.append(10)
            yield b"0123456789"

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=chunks()))
    ) as client:
        with pytest.raises(TooLargeError):
            await post(client, "http://portal.test/", b"", at_most=25)

    assert sum(read) == 30


async def test_an_answer_that_trickles_ends_at_the_deadline_of_the_whole_call() -> None:
    closed = []

    async def trickle() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b" "
                await asyncio.sleep(0.01)
        finally:
            closed.append(True)

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=trickle()))
    ) as client:
        with pytest.raises(httpx.ReadTimeout) as late:
            await asyncio.wait_for(post(client, "http://portal.test/", b"", within_s=0.1), 5)

    assert closed
    assert late.value.request.url == "http://portal.test/"


async def test_a_cancelled_call_is_no_late_answer() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as client:
        calling = asyncio.create_task(post(client, "http://portal.test/", b"", within_s=30))
        await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
