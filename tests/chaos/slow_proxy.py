"""In front of the real target: answers late, and takes so many batches a second; the others get 429 and a time."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatferry.operator.folder import Folder

_STARTS_S = 20.0
# What was on its way when the refusal was said cannot have known of it.
_IN_FLIGHT_S = 0.5


@dataclass(slots=True)
class Slowness:
    """`times`: so many times as long as the real call takes, and `least_s`."""

    times: float
    least_s: float
    batches_per_s: float
    retry_after_s: int


@dataclass(slots=True)
class Seen:
    """`early`: batches that came although they had been asked to wait."""

    taken: int = 0
    refused: int = 0
    early: int = 0


class SlowTarget:
    """A context manager; `settings` lead a project's services here. Fast until `slowness` is set."""

    def __init__(self, root: Path) -> None:
        self._folder, self.seen = Folder(root), Seen()
        self.slowness: Slowness | None = None
        self._free_at = self._refused_at = 0.0
        self._socket = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/rest/1/slow"
        self.settings = {"CHATFERRY_TARGET_URL_FILE": str(self._folder.secret("slow.url", url))}
        app = Starlette(routes=[Route("/rest/1/slow/{method}", self._answer, methods=["POST"])])
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        self._thread = threading.Thread(target=self._serve, name="slow target")

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + _STARTS_S
        while not self._server.started:
            assert self._thread.is_alive(), "the slow target does not start"
            assert time.monotonic() < deadline, f"the slow target has not started within {_STARTS_S:.0f} s"
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        async def serve() -> None:
            async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=32)) as self._http:
                await self._server.serve(sockets=[self._socket])

        asyncio.run(serve())

    async def _answer(self, request: Request) -> Response:
        method, body, slowness = request.path_params["method"], await request.body(), self.slowness
        if slowness is None:
            return await self._pass_on(method, body)
        if method.endswith(".batch") and not self._admits(slowness):
            return Response(b"{}", 429, {"retry-after": str(slowness.retry_after_s)})
        began = time.monotonic()
        answer = await self._pass_on(method, body)
        spent = time.monotonic() - began
        await asyncio.sleep(max(slowness.least_s, spent * slowness.times) - spent)
        return answer

    def _admits(self, slowness: Slowness) -> bool:
        now = time.monotonic()
        self.seen.early += self._refused_at + _IN_FLIGHT_S < now < self._refused_at + slowness.retry_after_s - 0.05
        if now >= self._free_at:
            self._free_at = now + 1 / slowness.batches_per_s
            self.seen.taken += 1
            return True
        self._refused_at = now
        self.seen.refused += 1
        return False

    async def _pass_on(self, method: str, body: bytes) -> Response:
        url = (self._folder.secrets / "target.url").read_text(encoding="utf-8").strip()
        try:
            answer = await self._http.post(f"{url}/{method}", content=body)
        except httpx.TransportError:
            return Response(b"{}", 503)
        return Response(answer.content, answer.status_code, media_type="application/json")
