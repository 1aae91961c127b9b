"""A server of ours between a project and its real target, in a thread of its own."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import time
from abc import ABC, abstractmethod
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


class TargetProxy(ABC):
    """A context manager; `settings` lead a project's services here, under a secret of the usual shape."""

    def __init__(self, root: Path, name: str) -> None:
        self._folder, self._name = Folder(root), name
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.secret = secrets.token_urlsafe(24)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/rest/1/{self.secret}"
        self.settings = {"CHATFERRY_TARGET_URL_FILE": str(self._folder.secret(f"{name}.url", self.url))}
        app = Starlette(routes=[Route(f"/rest/1/{self.secret}/{{method}}", self._take, methods=["POST"])])
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        self._thread = threading.Thread(target=self._serve, name=f"{name} target")

    @abstractmethod
    async def answer(self, method: str, body: bytes) -> Response:
        """What to say to a call: an own answer, or that of `pass_on`."""

    async def pass_on(self, method: str, body: bytes) -> Response:
        """What the real target says; 503 while there is none."""
        url = (self._folder.secrets / "target.url").read_text(encoding="utf-8").strip()
        try:
            answer = await self._http.post(f"{url}/{method}", content=body)
        except httpx.TransportError:
            return Response(b"{}", 503)
        return Response(answer.content, answer.status_code, media_type="application/json")

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + _STARTS_S
        while not self._server.started:
            assert self._thread.is_alive(), f"the {self._name} target does not start"
            assert time.monotonic() < deadline, f"the {self._name} target has not started within {_STARTS_S:.0f} s"
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

    async def _take(self, request: Request) -> Response:
        return await self.answer(request.path_params["method"], await request.body())
