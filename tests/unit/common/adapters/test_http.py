from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import httpx
import pytest

from chatferry.common.adapters.http import post


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
