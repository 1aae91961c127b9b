"""The MAX platform's control interface: what is really so, its own count of calls, its script."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from chatferry.common.errors import FatalError

Step = tuple[int, int | None]
"""From this ms on the count was this; None: the bot could not see it."""
_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat as MAX has it."""

    id: int
    title: str
    count: int
    has_bot: bool


@dataclass(frozen=True, slots=True)
class Calls:
    """What arrived at MAX."""

    total: int
    reads: int
    most_in_a_second: int
    twice_at_once: int
    refused: int


@dataclass(frozen=True, slots=True)
class Moves:
    """Changes of counts, and how many of them no event has told or will."""

    total: int
    missed: int

    @property
    def missed_share(self) -> float:
        return self.missed / self.total if self.total else 0.0


class Control:
    """Every method raises FatalError when the platform does not answer: nothing can be judged without it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def chats(self) -> list[Chat]:
        rows = await self._get("/truth/chats")
        return [
            Chat(row["chat_id"], row["title"] or "", row["count"], row["has_bot"])
            for row in rows
            if row["type"] != "dialog"
        ]

    async def counts(self) -> dict[int, int]:
        """Of the chats that the bot is in."""
        return {int(chat): count for chat, count in (await self._get("/truth/counts"))["counts"].items()}

    async def history(self, since_ms: int) -> tuple[int, dict[int, list[Step]]]:
        """MAX's time in ms; by chat the steps since then, the one that was in force first."""
        told = await self._get(f"/truth/history?since_ms={since_ms}")
        steps = {int(chat): [(at, count) for at, count in some] for chat, some in told["history"].items()}
        return told["now_ms"], steps

    async def calls(self, since_ms: int = 0) -> Calls:
        told = await self._get(f"/truth/calls?since_ms={since_ms}")
        return Calls(
            told["total"],
            told["reads"],
            told["max_in_any_second"],
            told["reads_twice_at_once"],
            told["by_status"].get("429", 0),
        )

    async def moves(self) -> Moves:
        """Where nobody listens, all are missed."""
        told = await self._get("/truth")
        changes = told["events"]["changes"]
        heard = bool(told["subscriptions"])
        return Moves(changes["total"], changes["missed"] if heard else changes["total"])

    async def subscribed(self) -> bool:
        return bool((await self._get("/truth"))["subscriptions"])

    async def announce(self) -> None:
        """The bot is told that it is in each chat."""
        await self._post("/changes/announce")

    async def resume(self) -> None:
        """Changes begin."""
        await self._post("/script/resume")

    async def pause(self) -> int:
        """Changes end; the moment, in ms."""
        return int((await self._post("/script/pause"))["now_ms"])

    async def _get(self, path: str) -> Any:
        return await self._asked("GET", path)

    async def _post(self, path: str) -> Any:
        return await self._asked("POST", path)

    async def _asked(self, method: str, path: str) -> Any:
        try:
            answer = await self._client.request(method, path.lstrip("/"), content=b"{}" if method == "POST" else None)
            answer.raise_for_status()
            return orjson.loads(answer.content)
        except (httpx.HTTPError, orjson.JSONDecodeError) as failure:
            kind = type(failure).__name__
            raise FatalError("max.silent", f"the MAX platform does not answer ({kind}); see max.log") from failure


@asynccontextmanager
async def open_control(url: str) -> AsyncIterator[Control]:
    """`url`: of the control interface."""
    async with httpx.AsyncClient(base_url=f"{url}/", timeout=_ANSWER_S, trust_env=False) as client:
        yield Control(client)
