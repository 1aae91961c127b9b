"""A portal that refuses whole batches: no chat is blamed, and the next run reads everything."""

from __future__ import annotations

import httpx
import pytest
from tests.integration.extractor.extractor_world import World

pytestmark = pytest.mark.integration


class _Refusing(httpx.AsyncBaseTransport):
    """The portal; whatever asks for the rows of chats is refused with this answer while `times` is left."""

    def __init__(self, status: int, code: str, times: int) -> None:
        self.inner = httpx.AsyncHTTPTransport()
        self.answer, self.times = (status, {"error": code, "error_description": "words of the portal"}), times

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.times and b"im.dialog.get?" in await request.aread():
            self.times -= 1
            return httpx.Response(self.answer[0], json=self.answer[1])
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_a_portal_that_refuses_in_mid_run_blocks_the_run_and_blames_no_chat(world: World) -> None:
    usual = world.http
    async with httpx.AsyncClient(transport=_Refusing(403, "ACCESS_DENIED", times=1_000)) as world.http:
        run = await world.get()
    assert run["state"] == "blocked"
    assert all(check["ok"] for check in run["preflight"])
    assert "(ACCESS_DENIED, HTTP 403)" in run["reason"]
    assert not {row["state"] for row in (await world.rows()).values()} & {"unreadable", "failed"}
    world.http = usual
    await world.get()
    await world.assert_equal_to_the_portal()


async def test_a_bad_minute_of_the_portal_is_outlived_whatever_code_it_names(world: World) -> None:
    refusing = _Refusing(503, "SERVICE_UNAVAILABLE", times=2)
    usual = world.http
    async with httpx.AsyncClient(transport=refusing) as world.http:
        await world.get()
    world.http = usual
    assert refusing.times == 0
    assert {row["state"] for row in (await world.rows()).values()} == {"closed"}
    await world.assert_equal_to_the_portal()
