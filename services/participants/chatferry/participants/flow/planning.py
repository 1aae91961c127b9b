"""Which chats of the held slots are due without anybody's asking: looked at anew every few seconds."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime

from chatferry.common.clock import Clock
from chatferry.participants.domain.catalogue import Entry, slot_of, spread_of
from chatferry.participants.domain.counts import ChatId, Mark, Stamp
from chatferry.participants.domain.plan import PlanRules, Standing, Urgency, due, last_night
from chatferry.participants.flow.parts import Chats, Held, Trust

LOOK_EVERY_S = 5.0
_AT_ONCE = 500


@dataclass(slots=True)
class Planner:
    """`begun`: chats that were taken from the plan since it was made; they are not due twice."""

    chats: Chats
    trust: Trust
    rules: PlanRules
    top_n: int
    _due: deque[tuple[int, Urgency, Urgency, ChatId]] = field(default_factory=deque)
    _looked_at: float = float("-inf")
    _held: frozenset[int] = frozenset()
    _top: frozenset[ChatId] = frozenset()
    _top_since: float = float("-inf")
    # Since when a count was seen to be provisional, and upon which read.
    _moved: dict[ChatId, tuple[Stamp, float]] = field(default_factory=dict)

    async def planned(self, held: Held, clock: Clock, most: int) -> list[tuple[ChatId, Urgency]]:
        """The most urgent that are due, each once in a look; others have their turns during a look at many chats."""
        now, at = clock.now(), clock.monotonic()
        if at - self._looked_at >= LOOK_EVERY_S or self._held != held.keys():
            await self._look(held, now, at)
        now_ms = int(now.timestamp() * 1_000)
        taken: list[tuple[ChatId, Urgency]] = []
        while self._due and len(taken) < most and self._due[0][0] <= now_ms:
            _, _, urgency, chat = self._due.popleft()
            taken.append((chat, urgency))
        return taken

    async def _look(self, held: Held, now: datetime, at: float) -> None:
        self._looked_at, self._held = at, frozenset(held)
        moved = dict[ChatId, tuple[Stamp, float]]()
        horizon = int((now.timestamp() + LOOK_EVERY_S) * 1_000)
        night = int(last_night(now, self.rules).timestamp() * 1_000)
        top = self._most_active(at)
        found = []
        for number, seen in enumerate(list(self.chats.entries())):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            # It may have been read since this look began.
            entry = self.chats.entry(seen.id)
            if entry is None or entry.max_chat is None or slot_of(entry.id) not in held:
                continue
            standing = self._standing(entry, top=entry.id in top)
            if entry.count.mark is Mark.PROVISIONAL:
                moved[entry.id] = self._seen_moved(entry, at)
                standing = replace(standing, moved_ms=int((now.timestamp() - at + moved[entry.id][1]) * 1_000))
            one = due(standing, self.rules, night)
            if one.at_ms <= horizon:
                # Of the most active comes first whatever is due: for a whole night's pass they would be nothing more.
                rank = min(one.urgency, Urgency.TOP) if standing.top else one.urgency
                found.append((one.at_ms, rank, one.urgency, entry.id))
        self._moved = moved
        # What is overdue already goes by its reason, what is to come by its time.
        now_ms = int(now.timestamp() * 1_000)
        overdue = sorted((one for one in found if one[0] <= now_ms), key=lambda one: (one[1], one[0]))
        self._due = deque([*overdue, *sorted(one for one in found if one[0] > now_ms)])

    def _most_active(self, at: float) -> frozenset[ChatId]:
        """Chosen once an interval: chosen at each look, whichever chat was active for a moment would be read."""
        if at - self._top_since >= self.rules.update_s or len(self._top) < self.top_n:
            self._top, self._top_since = frozenset(self.chats.top(self.top_n)), at
        return self._top

    def _seen_moved(self, entry: Entry, at: float) -> tuple[Stamp, float]:
        stamp = entry.count.stamp
        known = self._moved.get(entry.id)
        # Another stamp: it was read meanwhile, and has moved anew.
        return known if known is not None and known[0] == stamp else (stamp, at)

    def _standing(self, entry: Entry, *, top: bool) -> Standing:
        known = entry.counted
        return Standing(
            read_ms=known.stamp.started_ms if known is not None else 0,
            trusted=self.trust.of(entry),
            top=top,
            lost=known is not None and known.mark in (Mark.FROZEN, Mark.DENIED),
            spread=spread_of(entry.id),
        )
