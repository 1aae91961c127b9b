from __future__ import annotations

import asyncio
import gc
import gzip
import weakref
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import httpx
import pytest

from chatferry.common.adapters.http import TooLargeError, post, retry_after_s


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


_TEN = "Wed, 04 Mar 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("told", "date", "wait_s"),
    [
        ("120", None, 120.0),
        (" 30 ", None, 30.0),
        ("0", None, 0.0),
        ("9" * 5_000, None, 3_600.0),
        ("Wed, 04 Mar 2026 10:00:30 GMT", None, 30.0),
        ("Wed, 04 Mar 2026 10:00:30 GMT", _TEN, 30.0),
        # A target whose clock is an hour behind means half a minute all the same.
        ("Wed, 04 Mar 2026 09:00:30 GMT", "Wed, 04 Mar 2026 09:00:00 GMT", 30.0),
        ("Wed, 04 Mar 2026 10:00:30 GMT", "yesterday", 30.0),
        ("Wednesday, 04-Mar-26 10:00:30 GMT", None, 30.0),
        ("Wed Mar  4 10:00:30 2026", None, 30.0),
        ("Wed, 21 Oct 2037 07:28:00 GMT", _TEN, 3_600.0),
        ("Wed, 04 Mar 2026 09:00:00 GMT", _TEN, 0.0),
        ("Wed, 04 Mar 99999 09:00:00 GMT", None, None),
        ("Wed, 31 Feb 2026 09:00:00 GMT", None, None),
        ("soon", None, None),
        ("1.5", None, None),
        ("-5", None, None),
        ("\u0663", None, None),
        ("", None, None),
        (None, _TEN, None),
    ],
)
def test_a_pause_is_told_in_seconds_or_as_a_moment_of_the_answers_own_clock(
    told: str | None, date: str | None, wait_s: float | None
) -> None:
    given = {"retry-after": told, "date": date}
    headers = [(name, value.encode()) for name, value in given.items() if value is not None]
    answer = httpx.Response(503, headers=[(name.encode(), value) for name, value in headers])
    assert retry_after_s(answer, datetime(2026, 3, 4, 10, tzinfo=UTC), 3_600.0) == wait_s
