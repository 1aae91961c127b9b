"""Readers: they ask `/chats/all` at a steady rate, page after page, and keep what they got until it can be judged."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import orjson

from chatferry.common.errors import FatalError
from chatferry.operator.counting.judging import Measured, Seen, Truth

PAGE, LARGEST_PAGE = 50, 200
_EVERY_S = 0.2
_LEAST_READERS = 4
_ANSWER_S = 10.0
_LATELY_S = 5.0
_SORTS = ("title", "participants", "last_activity")
_SECOND_MS = 1_000.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A page; times are MAX's clock, in ms."""

    begun_ms: float
    ended_ms: float
    seen: tuple[Seen, ...]


@dataclass(slots=True)
class Record:
    """What readers have met. `offset_ms`: what MAX's clock is ahead of `clock`, which tells seconds since 1970."""

    offset_ms: float
    clock: Callable[[], float] = time.time
    failed: int = 0
    cached_pages: int = 0
    judged: int = 0
    right: int = 0
    took_s: array[float] = field(default_factory=lambda: array("d"))
    _pending: deque[Answered] = field(default_factory=deque)
    _lately: deque[tuple[float, int, int]] = field(default_factory=deque)

    def now_ms(self) -> float:
        return self.clock() * _SECOND_MS + self.offset_ms

    def answered(self, page: Answered, took_s: float, *, cached: bool) -> None:
        """`took_s`: from the moment at which the call was due."""
        self.took_s.append(took_s)
        self.cached_pages += cached
        self._pending.append(page)

    def judge(self, truth: Truth) -> None:
        """All that ended before what is known of the truth."""
        while self._pending and self._pending[0].ended_ms <= truth.until_ms:
            page = self._pending.popleft()
            told = [
                truth.right(one.max_chat, one.count, page.begun_ms, page.ended_ms)
                for one in page.seen
                if one.max_chat is not None
            ]
            judged, right = sum(one is not None for one in told), sum(one is True for one in told)
            self.judged, self.right = self.judged + judged, self.right + right
            self._lately.append((page.ended_ms, judged, right))
        while self._lately and self._lately[0][0] < truth.until_ms - _LATELY_S * _SECOND_MS:
            self._lately.popleft()

    def right_lately(self) -> float | None:
        """Share of the last seconds; None: nothing was judged."""
        judged = sum(one[1] for one in self._lately)
        return sum(one[2] for one in self._lately) / judged if judged else None

    def measured(self) -> Measured:
        return Measured(len(self.took_s) + self.failed, self.failed, self.p99_ms(), self.judged, self.right)

    def p99_ms(self, newest: int = 0) -> float:
        """Of so many, or of all; 0 when nothing was answered."""
        ordered = sorted(self.took_s[-newest:])
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * _SECOND_MS if ordered else 0.0


class Api:
    """The service, as those who read it see it: some replicas and a key."""

    def __init__(self, client: httpx.AsyncClient, replicas: Sequence[str]) -> None:
        self._client = client
        self.replicas = tuple(replicas)

    async def page(self, replica: str, **asked: str | int) -> dict[str, Any]:
        """One page of `/chats/all`. Raises httpx.HTTPError."""
        return await self._asked("GET", f"{replica}/chats/all", params=asked)

    async def counts(self, replica: str, chats: Sequence[int]) -> dict[str, dict[str, Any]]:
        """By id. Raises httpx.HTTPError."""
        body = orjson.dumps({"ids": list(chats)})
        counts: dict[str, dict[str, Any]] = (await self._asked("POST", f"{replica}/chats/participants", content=body))[
            "counts"
        ]
        return counts

    async def everything(self, replica: str) -> list[Seen]:
        """All chats of a replica. Raises FatalError when it does not answer."""
        found: list[Seen] = []
        cursor: dict[str, str] = {}
        try:
            while True:
                page = await self.page(replica, sort="title", limit=LARGEST_PAGE, **cursor)
                found.extend(seen_of(row) for row in page["chats"])
                if page["next_cursor"] is None:
                    return found
                cursor = {"cursor": page["next_cursor"]}
        except httpx.HTTPError as failure:
            kind = type(failure).__name__
            raise FatalError("participants.silent", f"a replica does not answer /chats/all ({kind})") from failure

    async def _asked(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        answer = await self._client.request(method, url, **more)
        answer.raise_for_status()
        content: dict[str, Any] = orjson.loads(answer.content)
        return content


@asynccontextmanager
async def open_api(replicas: Sequence[str], key: str) -> AsyncIterator[Api]:
    async with httpx.AsyncClient(headers={"x-api-key": key}, timeout=_ANSWER_S, trust_env=False) as client:
        yield Api(client, replicas)


async def read_on(api: Api, record: Record) -> None:
    """Until it is cancelled. Every reader is due at fixed moments, however long its last call took."""
    readers = max(_LEAST_READERS, len(api.replicas))
    async with asyncio.TaskGroup() as group:
        for number in range(readers):
            begin_s = number * _EVERY_S / readers
            sorts = _SORTS[number % len(_SORTS) :] + _SORTS[: number % len(_SORTS)]
            group.create_task(_read(api, record, api.replicas[number % len(api.replicas)], begin_s, sorts))


async def _read(api: Api, record: Record, replica: str, begin_s: float, sorts: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()
    due, walk = loop.time() + begin_s, 0
    cursor: dict[str, str] = {}
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        begun_ms = record.now_ms()
        try:
            page = await api.page(replica, sort=sorts[walk % len(sorts)], limit=PAGE, **cursor)
        except httpx.HTTPError:
            record.failed += 1
            cursor, walk = {}, walk + 1
        else:
            seen = tuple(seen_of(row) for row in page["chats"])
            answered = Answered(begun_ms, record.now_ms(), seen)
            record.answered(answered, loop.time() - due, cached=page["use_cached_participants"])
            cursor = {} if page["next_cursor"] is None else {"cursor": page["next_cursor"]}
            walk += page["next_cursor"] is None
        due += _EVERY_S


def seen_of(row: dict[str, Any]) -> Seen:
    """Of a `ChatAnswer`."""
    updated = row["participants_count_updated_at"]
    return Seen(
        row["id"], row["max_chat_id"], row["participants_count"], row["participants_count_state"], updated_ms(updated)
    )


def updated_ms(moment: str | None) -> int:
    """0 for none."""
    return 0 if moment is None else int(datetime.fromisoformat(moment).timestamp() * _SECOND_MS)
