"""A bare client, a bot's webhook server and the published examples, for tests of the simulated platform."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response

from chatferry.simulators.listener import listen
from chatferry.simulators.max import Chat, Kind, Running

Json = Any
FIXTURES = Path(__file__).parent / "fixtures"
DEADLINE_S = 20


def fixture(name: str) -> Json:
    return json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Max:
    client: httpx.AsyncClient
    url: str
    token: str

    async def call(self, path: str, verb: str = "GET", **options: Any) -> httpx.Response:
        return await self.client.request(verb, self.url + path, headers={"Authorization": self.token}, **options)

    async def result(self, path: str, verb: str = "GET", **options: Any) -> Json:
        answer = await self.call(path, verb, **options)
        assert answer.status_code == 200, answer.text[:300]
        return answer.json()

    async def error(self, path: str, verb: str = "GET", **options: Any) -> tuple[int, str]:
        answer = await self.call(path, verb, **options)
        return answer.status_code, answer.json()["code"]

    async def count(self, chat_id: int) -> int:
        count: int = (await self.result(f"/chats/{chat_id}"))["participants_count"]
        return count

    async def updates(self, **query: Any) -> list[Json]:
        updates: list[Json] = (await self.result("/updates", params={"timeout": 0, **query}))["updates"]
        return updates


def chats_of(running: Running, kind: Kind = Kind.CHAT) -> list[Chat]:
    """The largest first."""
    return [chat for chat in running.world.platform.chats.values() if chat.kind is kind]


async def control(running: Running, client: httpx.AsyncClient, verb: str, path: str, body: Json = None) -> Json:
    answer = await client.request(verb, f"{running.control}{path}", json=body)
    assert answer.status_code == 200, answer.text[:300]
    return answer.json()


async def until(condition: Callable[[], bool]) -> None:
    """Raises TimeoutError when it does not come true."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 any condition, of any part
            await asyncio.sleep(0.005)


@dataclass(slots=True)
class Receiver:
    """A bot's server: what came, in order, and what it answers: `statuses` first, then 200."""

    url: str = ""
    updates: list[Json] = field(default_factory=list)
    secrets: list[str | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    always: int = 200
    slow: asyncio.Event | None = None
    """Answers wait for it."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        self.updates.append(await request.json())
        self.secrets.append(request.headers.get("X-Max-Bot-Api-Secret"))
        if self.slow is not None:
            await self.slow.wait()
        await Response(status_code=self.statuses.pop(0) if self.statuses else self.always)(scope, receive, send)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    server = Receiver()
    async with listen(server, "127.0.0.1", 0) as listener:
        server.url = f"{listener.url}/webhook"
        yield server
