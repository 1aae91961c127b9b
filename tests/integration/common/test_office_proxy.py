"""A company's proxy (HTTPS_PROXY) leads to the portal and to MAX, and to nothing that runs on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from chatferry.common.adapters.http import ON_THIS_MACHINE

pytestmark = pytest.mark.integration


class Listener:
    """Answers everything with 204 and remembers the first line of each request."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split(b"\r\n", 1)[0].decode())
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listener]:
    """What the environment names as proxy."""
    listener = Listener()
    async with await asyncio.start_server(listener.answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, url)
        yield listener


async def test_what_is_in_the_cloud_is_asked_through_the_proxy(proxy: Listener) -> None:
    async with httpx.AsyncClient(mounts=ON_THIS_MACHINE) as client:
        assert (await client.get("http://portal.example/rest/1/profile")).status_code == 204
        with pytest.raises(httpx.TransportError):
            # It asks for a tunnel, and this proxy makes none.
            await client.get("https://portal.example/rest/1/profile")
    assert proxy.asked == ["GET http://portal.example/rest/1/profile HTTP/1.1", "CONNECT portal.example:443 HTTP/1.1"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_what_runs_here_is_not(proxy: Listener, host: str) -> None:
    own = Listener()
    async with (
        await asyncio.start_server(own.answer, "127.0.0.1", 0) as server,
        httpx.AsyncClient(mounts=ON_THIS_MACHINE) as client,
    ):
        port = server.sockets[0].getsockname()[1]
        assert (await client.get(f"http://{host}:{port}/rest/1/profile")).status_code == 204
    assert (own.asked, proxy.asked) == (["GET /rest/1/profile HTTP/1.1"], [])
