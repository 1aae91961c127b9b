"""What a webhook may still spend of a method's operating time (reference: bitrix24.md §2): arithmetic, no I/O.

The portal looks before a call: the one that crosses the limit still runs, the next is refused. So a batch gets as many
commands as fit below the limit at the dearest price seen lately, counting those that are under way already. Time
leaves the window ten minutes after it was spent; the portal forgets whole minutes, earlier than that, and its next
answer says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from chatferry.common.entities.reading import Command, map_of

_WINDOW_S, _SLOT_S = 600.0, 10.0
_USABLE = 0.95
_FREE_S = 0.1
"""Calls of this length or less add nothing; no command is thought to cost less."""
_LONGEST_S = 60.0
"""The cloud cuts a request then: no command costs more."""
_FORGET = 0.8
_SOON_S = 0.5
_UNANSWERED_S = 5.0
"""So long an unknown price is waited for, and as long again for each command that has not come back with it."""
_LOST_S = 180.0
"""A command that nobody has told of for so long never will be: whoever sent it has died."""
BLOCK_STEP_S = 60.0


class Measured(NamedTuple):
    """What a batch told of one method. `cost`: its dearest command, None when that cannot be seen.

    `spent`: in the window, None when the portal does not say. `grown`: by how much that was more after the last command
    than after the first. `reset_s`: until the portal forgets its oldest minute.
    """

    spent: float | None = None
    reset_s: float | None = None
    cost: float | None = None
    grown: float = 0.0
    refused: bool = False


def measured(commands: Sequence[Command], times: Mapping[str, Any], errors: Mapping[str, Any]) -> dict[str, Measured]:
    """What a batch's `result_time` and `result_error` tell, by method; a refused command has no time."""
    told: dict[str, Measured] = {}
    for command in commands:
        before = told.get(command.method, Measured())
        if command.label in times:
            told[command.method] = _after(before, map_of(times[command.label]))
        elif command.label in errors:
            refused = map_of(errors[command.label]).get("error") == "OPERATION_TIME_LIMIT"
            told[command.method] = before._replace(refused=before.refused or refused)
    return told


def _after(before: Measured, time: Mapping[str, Any]) -> Measured:
    """The portal's running total grows by what each command of the method costs."""
    spent, reset, finish = (_number(time.get(name)) for name in ("operating", "operating_reset_at", "finish"))
    if spent is None:
        return before
    took = _number(time.get("duration")) or 0.0
    # Less than before: the portal has just forgotten a minute.
    seen = [] if before.spent is None or spent < before.spent else [spent - before.spent]
    grown = sum(seen)
    # A short call may have been dear all the same: only a long one tells by its duration.
    seen += [took] if took > _FREE_S else []
    seen += [] if before.cost is None else [before.cost]
    reset_s = None if reset is None or finish is None else reset - finish
    return Measured(spent, reset_s, max(seen, default=None), before.grown + grown, before.refused)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(slots=True)
class Meter:
    """One method of one webhook. Times are seconds of one clock. A meter that knows no price lets one command pass.

    `slots`: (latest moment, seconds spent). `flying`: commands under way and since when, by ticket.
    """

    known: bool = False
    cost: float = 0.0
    slots: list[list[float]] = field(default_factory=list)
    flying: dict[str, list[float]] = field(default_factory=dict)
    reset: float = 0.0
    blocked: float = 0.0
    settled: float = 0.0

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Meter:
        """The meter that `stored` made."""
        return cls(**stored) if stored else cls()

    def stored(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)

    @property
    def spent(self) -> float:
        """What is in the window, rather too much than too little."""
        return sum(seconds for _, seconds in self.slots)

    def grant(self, now: float, ticket: str, wanted: int, limit_s: float) -> tuple[int, float]:
        """How many of the commands may go now under this ticket, and when the rest may ask again."""
        self._age(now)
        # The same reservation once more, because Redis' answer to the first was lost.
        self.flying.pop(ticket, None)
        if self.blocked > now:
            return 0, self.blocked - now
        alone = not self.flying
        count = max(0, min(wanted, self._room(now, limit_s)))
        later = _SOON_S if count or not alone else self._wait(now, limit_s)
        if count:
            self.flying[ticket] = [count, now]
        return count, later

    def settle(self, now: float, ticket: str, told: Measured | None) -> None:
        """The ticket's commands were answered; `told` is None when nobody knows what became of them."""
        self._age(now)
        count, since = self.flying.pop(ticket, (0.0, -1.0))
        if told is None:
            self._spend(now, count * self._price)
            return
        if told.refused:
            self.blocked = now + BLOCK_STEP_S
        if told.spent is not None:
            alone = not self.flying and since >= self.settled
            self._learn(told, told.spent, count, alone=alone)
            # Recorded as of now first: what the portal has forgotten meanwhile is older.
            self._spend(now, min(count * self._price, told.grown + self._price))
            self._correct(now, told.spent, alone=alone)
            self.reset = now + max(0.0, told.reset_s or 0.0)
            self.settled = now
        self.known = self.known or told.spent is not None or not told.refused

    def _learn(self, told: Measured, spent: float, count: float, *, alone: bool) -> None:
        # What was paid dearly once is forgotten slowly, and only for prices that were seen.
        self.cost = max(told.cost, self.cost * _FORGET) if told.cost is not None else self.cost
        if not self.known:
            # Who had spent it is not known: perhaps this one command.
            self.cost = max(self.cost, min(spent, _LONGEST_S))
        elif alone and count:
            self.cost = max(self.cost, (spent - self.spent) / count)

    def _correct(self, now: float, spent: float, *, alone: bool) -> None:
        more = spent - self.spent
        if more > 0:
            self._spend(now, more)
        elif alone:
            # Beside others an answer may be older than what is known.
            self._forget(-more)

    def _spend(self, now: float, seconds: float) -> None:
        if seconds <= 0:
            return
        if self.slots and now - self.slots[-1][0] < _SLOT_S:
            self.slots[-1] = [now, self.slots[-1][1] + seconds]
        else:
            self.slots.append([now, seconds])

    def _forget(self, seconds: float) -> None:
        while self.slots and seconds > 0:
            gone = min(seconds, self.slots[0][1])
            self.slots[0][1] -= gone
            seconds -= gone
            if self.slots[0][1] <= 0:
                self.slots.pop(0)

    def _age(self, now: float) -> None:
        """What lies in the future was written before a clock was set back: it is of now, and lasts no longer."""
        lost = [ticket for ticket, (_, since) in self.flying.items() if now - since > _LOST_S]
        for count, _ in [self.flying.pop(ticket) for ticket in lost]:
            self._spend(now, count * self._price)
        self.flying = {ticket: [count, min(since, now)] for ticket, (count, since) in self.flying.items()}
        self.slots = [[min(at, now), seconds] for at, seconds in self.slots if at + _WINDOW_S > now]
        self.blocked = min(self.blocked, now + BLOCK_STEP_S)
        self.reset = min(self.reset, now + _WINDOW_S)
        self.settled = min(self.settled, now)

    @property
    def _price(self) -> float:
        return max(self.cost, _FREE_S)

    def _room(self, now: float, limit_s: float) -> int:
        if not self.known:
            newest = max((since for _, since in self.flying.values()), default=-math.inf)
            return 1 if now - newest >= _UNANSWERED_S * len(self.flying) else 0
        flying = sum(int(count) for count, _ in self.flying.values())
        room = int((limit_s * _USABLE - self.spent) / self._price) - flying
        fits = self.reset <= now and self.spent + self._price <= limit_s
        if room < 1 and not flying and (fits or not self.slots):
            # One alone, into the reserve: its answer says what the portal has forgotten.
            return 1
        return room

    def _wait(self, now: float, limit_s: float) -> float:
        """Until one command may go, if nothing else happens."""
        fits = self._at_most(limit_s * _USABLE - self._price, now)
        alone = max(self.reset, self._at_most(limit_s - self._price, now))
        return max(_SOON_S, min(fits, alone) - now)

    def _at_most(self, seconds: float, now: float) -> float:
        """When no more than that will be in the window."""
        left, moment = self.spent, now
        for at, gone in self.slots:
            if left <= seconds:
                break
            left, moment = left - gone, at + _WINDOW_S
        return moment
