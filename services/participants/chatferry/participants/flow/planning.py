"""Which chats of the held slots are due without anybody's asking: looked at anew every few seconds."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from chatferry.common.clock import Clock
from chatferry.participants.domain.catalogue import Entry, slot_of, spread_of
from chatferry.participants.domain.counts import ChatId, Stamp
from chatferry.participants.domain.plan import (
    SURELY_LOST,
    Pass,
    PlanRules,
    Standing,
    Urgency,
    due,
    last_night,
    pass_at,
)
from chatferry.participants.flow.parts import Chats, Held, Trust

LOOK_EVERY_S = 5.0
_AT_ONCE = 500


class _Planned(NamedTuple):
    """`rank`: what it goes by among what is overdue. `read_ms`: when it was read last, as it was planned."""

    at_ms: int
    rank: Urgency
    urgency: Urgency
    chat: ChatId
    read_ms: int


@dataclass(slots=True)
class Planner:
    """One replica's. What it has planned and nobody has read is planned again at a later look."""

    chats: Chats
    trust: Trust
    rules: PlanRules
    top_n: int
    _due: deque[_Planned] = field(default_factory=deque)
    _looked_at: float = float("-inf")
    _held: frozenset[int] = frozenset()
    # Since when each is among the most active of this pass, as far as this replica knows.
    _top: dict[ChatId, float] = field(default_factory=dict)
    _pass: Pass | None = None
    # Since when a count was seen to be moved by events alone, and upon which read.
    _moved: dict[ChatId, tuple[Stamp, float]] = field(default_factory=dict)
    # The last read that said that a chat is lost, and how many have, as far as this replica knows.
    _lost: dict[ChatId, tuple[int, int]] = field(default_factory=dict)

    async def planned(self, held: Held, clock: Clock, most: int) -> list[tuple[ChatId, Urgency]]:
        """The most urgent that are due, each once in a look; others have their turns during a look at many chats.

        `clock`: its moments are those that reads are stamped by, or what has just been read seems not to have been.
        """
        now, at = clock.now(), clock.monotonic()
        now_ms = int(now.timestamp() * 1_000)
        turn = pass_at(now_ms, self.rules, self.top_n)
        if at - self._looked_at >= LOOK_EVERY_S or self._held != held.keys() or turn != self._pass:
            await self._look(held, turn, now, at)
        taken: list[tuple[ChatId, Urgency]] = []
        while self._due and len(taken) < most and self._due[0].at_ms <= now_ms:
            one = self._due.popleft()
            entry = self.chats.entry(one.chat)
            # Somebody may have had it read since it was planned.
            if entry is not None and _read_ms(entry) == one.read_ms:
                taken.append((one.chat, one.urgency))
        return taken

    async def _look(self, held: Held, turn: Pass, now: datetime, at: float) -> None:
        self._looked_at, self._held = at, frozenset(held)
        moved, lost = dict[ChatId, tuple[Stamp, float]](), dict[ChatId, tuple[int, int]]()
        horizon = int((now.timestamp() + LOOK_EVERY_S) * 1_000)
        night = int(last_night(now, self.rules).timestamp() * 1_000)
        self._choose(turn, at)
        found = []
        for number, seen in enumerate(list(self.chats.entries())):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            # It may have been read since this look began.
            entry = self.chats.entry(seen.id)
            if entry is None or entry.max_chat is None or slot_of(entry.id) not in held:
                continue
            standing = self._standing(entry, top=entry.id in self._top)
            if entry.lost:
                lost[entry.id] = self._seen_lost(entry)
                standing = replace(standing, lost=lost[entry.id][1])
            if entry.count.moved:
                moved[entry.id] = self._seen_moved(entry, at)
                standing = replace(standing, moved_ms=int((now.timestamp() - at + moved[entry.id][1]) * 1_000))
            one = due(standing, self.rules, night, turn)
            if one.at_ms <= horizon:
                # Of the most active comes first whatever is due: for a whole night's pass they would be nothing more.
                rank = min(one.urgency, Urgency.TOP) if standing.top else one.urgency
                found.append(_Planned(one.at_ms, rank, one.urgency, entry.id, standing.read_ms))
        self._moved, self._lost = moved, lost
        # What is overdue already goes by its reason, what is to come by its time.
        now_ms = int(now.timestamp() * 1_000)
        # A night's pass reads in the order of the last one: so each chat has its next read a day later, and no more.
        overdue = sorted(
            (one for one in found if one.at_ms <= now_ms), key=lambda one: (one.rank, one.at_ms, one.read_ms)
        )
        self._due = deque([*overdue, *sorted(one for one in found if one.at_ms > now_ms)])

    def chosen_since(self, chat: ChatId) -> float | None:
        """Since when this replica has had it among the most active of this pass, on the clock's monotonic seconds;
        None: it has not."""
        return self._top.get(chat)

    def _choose(self, turn: Pass, at: float) -> None:
        """Once a pass, of all chats, whoever reads them: chosen at each look, whichever chat was active for a moment
        would be read; and slots that are taken over have their part of this pass chosen already."""
        if turn == self._pass and len(self._top) >= self.top_n:
            return
        before = self._top if turn == self._pass else {}
        self._top = {chat: before.get(chat, at) for chat in self.chats.top(self.top_n)}
        self._pass = turn

    def _seen_moved(self, entry: Entry, at: float) -> tuple[Stamp, float]:
        stamp = entry.count.stamp
        known = self._moved.get(entry.id)
        # Another stamp: it was read meanwhile, and has moved anew.
        return known if known is not None and known[0] == stamp else (stamp, at)

    def _seen_lost(self, entry: Entry) -> tuple[int, int]:
        read_ms = _read_ms(entry)
        if entry.id in self._lost:
            last_ms, times = self._lost[entry.id]
            return (last_ms, times) if last_ms == read_ms else (read_ms, times + 1)
        told_ms = entry.count.told_ms
        # An event says so, which asks for a read by itself; or there were refused reads before this one, for whatever
        # is not lost is read within the interval.
        sure = told_ms is None or 0 < told_ms < read_ms - self.rules.safety_s * 1_000
        return read_ms, SURELY_LOST if sure else 1

    def _standing(self, entry: Entry, *, top: bool) -> Standing:
        return Standing(_read_ms(entry), self.trust.of(entry), top, spread_of(entry.id))


def _read_ms(entry: Entry) -> int:
    return entry.counted.stamp.started_ms if entry.counted is not None else 0
