"""One port of a simulated server: uvicorn inside the caller's event loop."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chatferry.simulators.wire import TRANSPORT_KEY

TICK_S = 1
"""How often the server looks after its Date header."""
KEEP_ALIVE_S = 75
DRAIN_S = 1
"""How long requests in flight may go on when the server is stopped."""


class _Protocol(HttpToolsProtocol):
    """Shows the application its transport, for faults that end a connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[TRANSPORT_KEY] = self.transport  # type: ignore[literal-required]


class Listener(uvicorn.Server):
    """Leaves the signals of the process alone, says when it is ready, and ends as soon as it is told to."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self.url = url
        self.ready = asyncio.Event()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopping.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), TICK_S)


@asynccontextmanager
async def listen(
    app: ASGIApp, host: str, port: int, tls: ssl.SSLContext | None = None, name: str | None = None
) -> AsyncIterator[Listener]:
    """Answers until the block is left; `name` stands in the URL where it is not the address to listen on.

    Raises OSError, with a sentence, when the port is taken.
    """
    sock = _bound(host, port)
    scheme = "https" if tls else "http"
    server = Listener(
        uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
            ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
        ),
        f"{scheme}://{name or host}:{sock.getsockname()[1]}",
    )
    serving = asyncio.create_task(server.serve([sock]))
    ready = asyncio.create_task(server.ready.wait())
    try:
        await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        yield server
    finally:
        ready.cancel()
        server.stop()
        await serving
        sock.close()


def _bound(host: str, port: int) -> socket.socket:
    """The protocol is named because asyncio switches Nagle's delay off for such sockets only."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol or socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        reason = f"cannot listen on {host}:{port} ({error.strerror}): give another port, or 0 for a free one"
        raise OSError(error.errno, reason) from error
    return sock
