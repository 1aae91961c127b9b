from __future__ import annotations

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
