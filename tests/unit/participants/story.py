"""One replica on a loop whose time is a number: its ports in memory, and a MAX that obeys."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from tests.contract.participants.fake_catalogue import FakeCatalogue
from tests.simulation.loop import Host, Loop, LoopClock, running

from chatferry.common.errors import OutageError
from chatferry.participants.adapters.local import LocalCounts, LocalWaiting
from chatferry.participants.adapters.local_work import Allowance, LeaseRules, LocalBudget, LocalSlots, LocalWanted
from chatferry.participants.domain.catalogue import SLOTS
from chatferry.participants.domain.counts import Answer, ChatId, MaxChatId, Verdict
from chatferry.participants.domain.plan import Debounce, PlanRules
from chatferry.participants.flow.events import Listener
from chatferry.participants.flow.keeping import Keeper
from chatferry.participants.flow.parts import Hearing, Parts, Trust
from chatferry.participants.flow.planning import Planner
from chatferry.participants.flow.reading import Reader
from chatferry.participants.ports import Change, Held, MaxBusyError, Membership, Ready, SourceChat, Why, at_once
from chatferry.participants.view import View

T = TypeVar("T")
EPOCH = 7
RULES = PlanRules(update_s=900, safety_s=86_400, untrusted_s=300, fresh_s=3_600, full_hour=3, timezone=ZoneInfo("UTC"))


@dataclass
class ObedientMax:
    """Answers what a test says, after `seconds`; keeps who was asked about when."""

    clock: LoopClock
    seconds: float = 0.1
    counts: dict[MaxChatId, int] = field(default_factory=dict)
    answers: dict[MaxChatId, Answer] = field(default_factory=dict)
    failing: Callable[[], Exception | None] = field(default=lambda: None)
    trusted: bool = True
    asked: list[tuple[float, MaxChatId]] = field(default_factory=list)
    most_at_once: int = 0
    twice_at_once: int = 0
    rights_asked: list[MaxChatId] = field(default_factory=list)
    called: list[float] = field(default_factory=list)
    subscriptions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    subscribing: Callable[[], Exception | None] = field(default=lambda: None)
    looking: Callable[[], Exception | None] = field(default=lambda: None)
    opening: Callable[[], float] = field(default=lambda: 0.0)
    _under_way: list[MaxChatId] = field(default_factory=list)

    async def chat(self, chat: MaxChatId, ready: Ready = at_once) -> Answer:
        await self.clock.sleep(self.opening())
        await ready()
        self.called.append(self.clock.monotonic())
        self.asked.append((self.clock.monotonic(), chat))
        self.twice_at_once += chat in self._under_way
        self._under_way.append(chat)
        self.most_at_once = max(self.most_at_once, len(self._under_way))
        try:
            await self.clock.sleep(self.seconds)
        finally:
            self._under_way.remove(chat)
        if (failure := self.failing()) is not None:
            raise failure
        return self.answers.get(chat) or Answer(Verdict.COUNTED, self.counts[chat])

    async def membership(self, chat: MaxChatId, ready: Ready = at_once) -> Membership | None:
        await ready()
        self.called.append(self.clock.monotonic())
        self.rights_asked.append(chat)
        return Membership(self.trusted)

    async def subscribed(self, url: str, types: Collection[str]) -> bool:
        if (failure := self.looking()) is not None:
            raise failure
        return set(types) <= set(self.subscriptions.get(url, ()))

    async def subscribe(self, url: str, secret: str, types: Sequence[str]) -> None:
        if (failure := self.subscribing()) is not None:
            raise failure
        self.subscriptions[url] = tuple(types)
        self.secrets.append(secret)


@dataclass
class Noted:
    """Port Watch."""

    reads: list[tuple[bool, Why]] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    away: list[str | None] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def read(self, seconds: float, *, changed: bool, why: Why) -> None:
        assert seconds >= 0
        self.took.append(seconds)
        self.reads.append((changed, why))

    def called(self, kind: str) -> None:
        self.calls.append(kind)

    def heard(self, lag_s: float) -> None:
        self.lags.append(lag_s)

    def max_away(self, sentence: str | None) -> None:
        if not self.away or self.away[-1] != sentence:
            self.away.append(sentence)


@dataclass
class Told:
    """Port Announcements. `failing`: times that Kafka is away."""

    changes: list[Change] = field(default_factory=list)
    failing: int = 0

    async def count_changed(self, changes: Sequence[Change]) -> None:
        if self.failing:
            self.failing -= 1
            raise OutageError("kafka", "Kafka is away")
        self.changes += changes


class Story:
    """`begin` runs something on the replica's host until the story ends; `after` lets time pass."""

    def __init__(self, *, most: int = 50, per_second: int = 27, safety_s: int = 86_400, events_on: bool = True) -> None:
        self.loop = Loop()  # type: ignore[abstract]
        self.host = Host("replica")
        self.loop.hosts.append(self.host)
        self.clock = LoopClock(self.loop)
        rng = random.Random(3)
        self.counts, self.waiting = LocalCounts(self.clock), LocalWaiting()
        self.wanted = LocalWanted(self.clock, set(), Debounce())
        self.slots = LocalSlots(LeaseRules(read_s=3.0), self.clock)
        self.hold(range(SLOTS))
        self.catalogue, self.view = FakeCatalogue(), View(self.clock)
        self.max, self.watch, self.told = ObedientMax(self.clock), Noted(), Told()
        self.trust = Trust(events_on)
        budget = LocalBudget(Allowance(per_second), self.clock, rng)
        self.parts = Parts(
            self.counts,
            budget,
            self.slots,
            self.wanted,
            self.waiting,
            self.max,
            self.catalogue,
            self.catalogue,
            self.catalogue,
            self.told,
            self.catalogue,
            self.view,
            self.watch,
        )
        self.planner = Planner(self.view, self.trust, replace(RULES, safety_s=safety_s), top_n=0)
        self.reader = Reader(self.parts, self.planner, self.clock, most)
        self.listener = Listener(self.parts, self.clock)
        self.unsubscribed, self.hearing = list[str | None](), Hearing()
        self.keeper = Keeper(
            self.parts,
            self.trust,
            self.clock,
            on_duty=lambda: 0 in self.reader.held,
            told=self.unsubscribed.append,
            hearing=self.hearing,
        )
        self.stopping = asyncio.Event()

    def hold(self, slots: Sequence[int] | range, epoch: int = EPOCH) -> None:
        self.slots.learn(Held(dict.fromkeys(slots, epoch), frozenset(), self.clock.monotonic() + 7.0))

    def chats(self, *counts: int) -> list[ChatId]:
        """Chats of MAX with these counts, in the catalogue and in view."""
        made = []
        for number, count in enumerate(counts, start=1):
            max_chat = MaxChatId(-1_000 - number)
            self.max.counts[max_chat] = count
            entry = self.do(self.catalogue.arrived(max_chat, f"chat {number}"))
            assert entry is not None
            made.append(entry.id)
        self.do(self.view.follow(self.catalogue))
        return made

    def portal_chat(self, chat: int, members: int) -> ChatId:
        source = SourceChat(ChatId(chat), 1, f"chat {chat}", 1_000, members)
        self.do(self.catalogue.note_sources([source]))
        self.do(self.view.follow(self.catalogue))
        return source.id

    def do(self, coro: Coroutine[Any, Any, T]) -> T:
        """What is over without any time passing."""
        task = self.begin(coro)
        assert task.done(), "it waits for something"
        return task.result()

    def begin(self, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        with running(self.loop), self.loop.on(self.host):
            task: asyncio.Task[T] = self.loop.create_task(coro)
            self.loop.run_ready()
        return task

    def after(self, seconds: float) -> None:
        """Let this much time pass, moment by moment."""
        end = self.loop.time() + seconds
        with running(self.loop):
            self.loop.run_ready()
            while self.loop.advance(end - self.loop.time()):
                self.loop.run_ready()
            self.loop.pass_by(max(0.0, end - self.loop.time()))
            self.loop.run_ready()
        assert not self.loop.wrong, self.loop.wrong

    def end(self) -> None:
        """Kill what still runs."""
        with running(self.loop):
            self.loop.kill(self.host)

    def count(self, chat: ChatId) -> tuple[int, str]:
        known = self.do(self.counts.load([chat])).get(chat)
        assert known is not None, "nothing is known of it"
        return known.count, known.mark.value


def busy() -> MaxBusyError:
    return MaxBusyError(2.0)
