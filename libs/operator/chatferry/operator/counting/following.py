"""Looks at MAX's truth and at what is served, several times a second, and makes a picture of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Any

import httpx

from chatferry.operator.counting.judging import Truth
from chatferry.operator.counting.options import Options
from chatferry.operator.counting.picture import Phase, Picture, Row
from chatferry.operator.counting.platform import Calls, Chat, Control, Moves
from chatferry.operator.counting.readers import Api, Record, updated_ms

ROWS = 14
_SECOND_MS = 1_000.0
_CALLS_OVER_MS = 5_000
_SERIES = 180
_LAGS = 200
_LATELY = 2_000
_ASKED_MOST = 200
_NO_CALLS = Calls(0, 0, 0, 0, 0)
_NO_MOVES = Moves(0, 0)


@dataclass(slots=True)
class _Changed:
    """A chat that has changed. `since_ms`: its first change that does not show yet, None: all of them show."""

    at_ms: int
    since_ms: int | None
    lag_s: float | None = None
    served: int | None = None
    state: str = ""
    updated_ms: int = 0


@dataclass(slots=True)
class Follower:
    """`look` as often as one likes; `picture` of what was seen last. `own`: the service's id of each MAX chat."""

    control: Control
    api: Api
    record: Record
    options: Options
    truth: Truth = field(default_factory=Truth)
    own: Mapping[int, int] = field(default_factory=dict)
    titles: Mapping[int, str] = field(default_factory=dict)
    calls: Calls = _NO_CALLS
    moves: Moves = _NO_MOVES
    counted: int = 0
    _calls_per_s: float = 0.0
    _changed: dict[int, _Changed] = field(default_factory=dict)
    _lags: deque[float] = field(default_factory=lambda: deque(maxlen=_LAGS))
    _calls_series: deque[float] = field(default_factory=lambda: deque(maxlen=_SERIES))
    _right_series: deque[float | None] = field(default_factory=lambda: deque(maxlen=_SERIES))
    _turn: int = 0
    _second: int = 0

    async def look(self) -> None:
        """At what has moved, and whether it shows. Raises FatalError when MAX does not answer."""
        now_ms, history = await self.control.history(self.truth.since_ms)
        for chat, (at_ms, _) in self.truth.take(now_ms, history):
            before = self._changed.pop(chat, None)
            since = at_ms if before is None or before.since_ms is None else before.since_ms
            changed = before or _Changed(at_ms, since)
            changed.at_ms, changed.since_ms = at_ms, since
            self._changed[chat] = changed
        self.record.judge(self.truth)
        await self._ask()
        if now_ms // 1_000 != self._second:
            self._second = now_ms // 1_000
            await self._count(now_ms)

    def name(self, chats: list[Chat]) -> None:
        self.titles = {chat.id: chat.title for chat in chats}

    async def _ask(self) -> None:
        """A reader's question for what is shown, and for all that does not show yet."""
        waiting = [chat for chat, one in self._changed.items() if one.since_ms is not None]
        shown = list(islice(reversed(self._changed), ROWS))
        asked = [chat for chat in dict.fromkeys([*shown, *waiting]) if chat in self.own][:_ASKED_MOST]
        if not asked:
            return
        self._turn += 1
        replica = self.api.replicas[self._turn % len(self.api.replicas)]
        try:
            counts = await self.api.counts(replica, [self.own[chat] for chat in asked])
        except httpx.HTTPError:
            return  # the readers count what fails; here it only is not seen yet
        for chat in asked:
            if (told := counts.get(str(self.own[chat]))) is not None:
                self._compare(chat, told)

    def _compare(self, chat: int, told: Mapping[str, Any]) -> None:
        one = self._changed[chat]
        one.served, one.state = told["participants_count"], told["participants_count_state"]
        one.updated_ms = updated_ms(told["participants_count_updated_at"])
        if one.since_ms is not None and self._shows(chat, one):
            one.lag_s = max(0.0, (self.record.now_ms() - one.since_ms) / _SECOND_MS)
            one.since_ms = None
            self._lags.append(one.lag_s)

    def _shows(self, chat: int, one: _Changed) -> bool:
        true = self.truth.now(chat)
        return one.state == "frozen" if true is None else one.served == true

    async def _count(self, now_ms: int) -> None:
        lately = await self.control.calls(now_ms - _CALLS_OVER_MS)
        self._calls_per_s = lately.total / (_CALLS_OVER_MS / _SECOND_MS)
        self.calls, self.moves = await self.control.calls(), await self.control.moves()
        self._calls_series.append(self._calls_per_s)
        self._right_series.append(self.record.right_lately())

    def picture(self, phase: Phase, done: float, left_s: float | None) -> Picture:
        """`done`: share of the phase."""
        measured = len(self.record.took_s)
        return Picture(
            phase=phase,
            done=min(1.0, done),
            left_s=left_s,
            chats=self.options.chats,
            counted=self.counted,
            replicas=len(self.api.replicas),
            events=self.options.events,
            changes=self.moves.total,
            missed=self.moves.missed,
            calls_per_s=self._calls_per_s,
            calls_most=self.calls.most_in_a_second,
            calls_total=self.calls.total,
            twice_at_once=self.calls.twice_at_once,
            right_share=self.record.right_lately(),
            cached_share=self.record.cached_pages / measured if measured else None,
            lag_p50_s=median(self._lags) if self._lags else None,
            lag_most_s=max(self._lags) if self._lags else None,
            requests=measured + self.record.failed,
            failed=self.record.failed,
            p99_ms=self.record.p99_ms(_LATELY),
            rows=self._rows(),
            calls_series=tuple(self._calls_series),
            right_series=tuple(self._right_series),
        )

    def _rows(self) -> tuple[Row, ...]:
        """The newest first."""
        now_ms = self.record.now_ms()
        return tuple(
            Row(
                title=self.titles.get(chat, str(chat)),
                truth=self.truth.now(chat),
                served=one.served,
                state=one.state,
                age_s=max(0.0, (now_ms - one.updated_ms) / _SECOND_MS) if one.updated_ms else None,
                changed_s=max(0.0, (now_ms - one.at_ms) / _SECOND_MS),
                lag_s=one.lag_s if one.since_ms is None else None,
                right=self._shows(chat, one),
            )
            for chat, one in islice(reversed(self._changed.items()), ROWS)
        )
