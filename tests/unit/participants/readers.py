"""What readers' calls need of the outside, in memory, and the application on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
from fastapi import FastAPI

from chatferry.common.errors import OutageError
from chatferry.common.telemetry.metrics import Metrics
from chatferry.participants.admission import Keys, Rates, Secret
from chatferry.participants.api import Calls, Gate, answers_of, build_api
from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import ChatId, Count, Mark, MaxChatId, Stamp
from chatferry.participants.domain.pages import Cursors
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.domain.updates import Update
from chatferry.participants.flow.parts import Hearing
from chatferry.participants.metrics import Watching
from chatferry.participants.ports import Claim, MaxChatTakenError, Of, Told
from chatferry.participants.serving import Rules, Serving, Sources
from chatferry.participants.view import View
from chatferry.participants.webhook import Webhook

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MS = int(START.timestamp() * 1_000)
KEY, OTHER_KEY, SECRET = "a-key-of-tests", "another-key", "a-secret-of-tests"
HOUR_MS = 3_600_000


@dataclass
class HandClock:
    """Time that a test moves."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


def confirmed(count: int, age_s: float = 0, mark: Mark = Mark.CONFIRMED) -> Count:
    return Count(count, mark, Stamp(1, NOW_MS - int(age_s * 1_000)))


def entry(
    chat: int,
    title: str | None = "chat",
    *,
    static: int = 5,
    max_chat: int | None = None,
    counted: Count | None = None,
    created_ms: int | None = 1_000,
    activity_ms: int | None = 2_000,
) -> Entry:
    linked = None if max_chat is None else MaxChatId(max_chat)
    return Entry(ChatId(chat), title, created_ms, activity_ms, static, linked, None, counted)


@dataclass
class MemoryCatalogue:
    """`ports.Catalogue.changed`, of what a test has put there."""

    entries: list[Entry] = field(default_factory=list)

    async def changed(self, since: int, most: int) -> tuple[Sequence[Entry], int]:
        some = self.entries[since : since + most]
        return some, since + len(some)

    async def by_max_chat(self, chats: Collection[MaxChatId]) -> dict[MaxChatId, Entry]:
        raise AssertionError(chats)

    async def note_sources(self, chats: object) -> None:
        raise AssertionError(chats)

    async def note_activity(self, newest_ms: Mapping[ChatId, int]) -> None:
        raise AssertionError(newest_ms)


@dataclass
class MemorySources:
    """The cache, and who brings newer counts. `brings`: what reads bring at once when they are waited for.

    `away`: Redis; `hangs`: it takes a connection and never answers; `slow_s`: how long each answer of it takes.
    `silent`: MAX never answers. `elsewhere`: what is loaded is this process' own, for Redis is away.
    """

    cached: dict[ChatId, Count] = field(default_factory=dict)
    brings: dict[ChatId, Count] = field(default_factory=dict)
    asked: list[tuple[frozenset[ChatId], Urgency]] = field(default_factory=list)
    loads: list[list[ChatId]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    away: bool = False
    hangs: bool = False
    slow_s: float = 0.0
    silent: bool = False
    elsewhere: bool = False

    async def load(self, chats: Sequence[ChatId]) -> dict[ChatId, Count]:
        self.loads.append(list(chats))
        await self._reach()
        return {chat: self.cached[chat] for chat in chats if chat in self.cached}

    async def write(self, chat: ChatId, count: Count) -> bool:
        raise AssertionError((chat, count))

    async def forget(self, chats: Collection[ChatId]) -> None:
        await self._reach()
        for chat in chats:
            self.cached.pop(chat, None)

    async def hint(self, chat: ChatId, known: Count, update: Update) -> Count | None:
        raise AssertionError((chat, known, update))

    async def ask(self, chats: Collection[ChatId], urgency: Urgency) -> None:
        await self._reach()
        self.asked.append((frozenset(chats), urgency))

    async def wait(self, chats: Collection[ChatId], since_ms: int, seconds: float) -> set[ChatId]:
        await self._reach()
        self.waits.append(seconds)
        if self.silent:
            await asyncio.sleep(seconds)
        came = {chat for chat in chats if chat in self.brings and self.brings[chat].stamp.started_ms >= since_ms}
        self.cached.update({chat: self.brings[chat] for chat in came})
        return came

    async def _reach(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        if self.away:
            raise OutageError("redis", "away")

    @property
    def wishes(self) -> list[ChatId]:
        return sorted(chat for chats, _ in self.asked for chat in chats)


class _Wanting(MemorySources):
    """`ports.Wanted` and `ports.Waiting` have more methods, which readers never call."""

    async def claim(self, held: object, planned: object, most: int, *, of: Of = Of.ALL) -> list[Claim]:
        raise AssertionError((held, planned, most, of))

    async def finish(self, claims: object, again: object = (), took_s: float = 0.0) -> None:
        raise AssertionError((claims, again, took_s))

    async def take_over(self, held: object) -> None:
        raise AssertionError(held)

    async def tell(self, reads: object) -> None:
        raise AssertionError(reads)


@dataclass
class MemoryLinks:
    """`ports.MaxSide.link`: what is linked takes over what MAX has had by itself."""

    chats: set[int] = field(default_factory=set)
    links: list[tuple[ChatId, MaxChatId | None]] = field(default_factory=list)
    known: list[MaxChatId] = field(default_factory=list)
    away: bool = False

    async def link(
        self, chat: ChatId, max_chat: MaxChatId | None, *, unless_linked: bool = False
    ) -> frozenset[ChatId] | None:
        assert not unless_linked
        if self.away:
            raise OutageError("mongodb", "away")
        if chat not in self.chats:
            return None
        now = dict(self.links)
        if max_chat is not None and any(one == max_chat for other, one in now.items() if other != chat):
            raise MaxChatTakenError
        self.links.append((chat, max_chat))
        return frozenset({chat} if max_chat is None else {chat, ChatId(max_chat)})

    async def arrived(self, max_chat: MaxChatId, title: str | None) -> Entry | None:
        if self.away:
            raise OutageError("mongodb", "away")
        self.known.append(max_chat)
        linked = next((chat for chat, one in reversed(self.links) if one == max_chat), max_chat)
        return entry(linked, title, max_chat=max_chat)

    async def note(self, chat: ChatId, told: Told) -> Entry | None:
        raise AssertionError((chat, told))


@dataclass
class MemoryInbox:
    """`ports.Inbox`."""

    taken: list[tuple[Update, bytes]] = field(default_factory=list)
    away: bool = False

    async def put(self, update: Update, body: bytes) -> None:
        if self.away:
            raise OutageError("kafka", "away")
        self.taken.append((update, body))


@dataclass
class Service:
    """The application with everything that a test turns and looks at."""

    clock: HandClock
    sources: MemorySources
    links: MemoryLinks
    inbox: MemoryInbox
    hearing: Hearing
    metrics: Metrics
    view: View
    api: FastAPI

    def client(self, key: str | None = KEY) -> httpx.AsyncClient:
        headers = {} if key is None else {"x-api-key": key}
        transport = httpx.ASGITransport(self.api, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://participants", headers=headers)

    async def got(self, path: str, **query: str | int) -> httpx.Response:
        async with self.client() as http:
            return await http.get(path, params=query)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


async def service(
    entries: Sequence[Entry] = (),
    *,
    rate: int = 1_000,
    fresh_wait_s: float = 2.0,
    filled: bool = True,
    change: Callable[[MemorySources], None] = lambda _: None,
) -> Service:
    """An application on these chats."""
    clock, sources, metrics = HandClock(), _Wanting(), Metrics()
    change(sources)
    view = View(clock)
    if filled:
        await view.follow(MemoryCatalogue(list(entries)))
    watching = Watching(metrics, clock)
    where = Sources(sources, sources, sources, shared=lambda: not sources.elsewhere)
    serving = Serving(view, where, clock, Rules(HOUR_MS, fresh_wait_s), watching)
    links, inbox, hearing = MemoryLinks({one.id for one in entries}), MemoryInbox(), Hearing()
    gate = Gate(Keys([KEY, OTHER_KEY]), Rates(rate, clock), watching)
    calls = Calls(serving, links, Cursors(b"a secret of cursors"), 200)
    api = build_api(answers_of(gate, calls, Webhook(Secret(SECRET), inbox, watching, 4_096, hearing)))
    return Service(clock, sources, links, inbox, hearing, metrics, view, api)
