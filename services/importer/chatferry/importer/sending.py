"""Sends records in lanes: each line is whole in one lane, so one call at a time has its records, in order."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

from chatferry.common.clock import Clock
from chatferry.common.contracts.target import ItemResult
from chatferry.common.entities import Entity
from chatferry.common.telemetry.traces import current_traceparent, span
from chatferry.importer.caller import Caller, PoisonedError
from chatferry.importer.diary import say_bisected
from chatferry.importer.domain.answers import LONGEST_SPREAD, Told, own_code, retry_delay, told
from chatferry.importer.domain.batches import Cut, batches, halves, lanes
from chatferry.importer.domain.records import EXHAUSTED, PERMANENT, ImportRecord, place_of, traceparents
from chatferry.importer.domain.standing import Standing, attempts_before
from chatferry.importer.limit import DeadRules
from chatferry.importer.lines import Lines
from chatferry.importer.ports import Behind, Dead, Done, Ending, Retry, Waits
from chatferry.importer.settle import Settler

_MOST_UNCOUNTED = 10_000
_MESSAGES = {
    PERMANENT: "the target refuses this record; trying again changes nothing",
    EXHAUSTED: "the target could not take this record in as many attempts as are allowed",
}


@dataclass(frozen=True, slots=True)
class SendRules:
    """`batch_items` overrides an entity's own batch size. `retry_delays_s` after attempt 1, 2, …: one more than these
    is the last. `may_pass_dead`: records may pass one of their line that is dead for good (never an exhausted one).
    `dead`: when too many have died."""

    lanes: int = 4
    batch_items: Mapping[str, int] = field(default_factory=dict)
    batch_bytes: int = 4 * 1024 * 1024
    retry_delays_s: tuple[float, ...] = (2.0, 6.0)
    may_pass_dead: bool = True
    dead: DeadRules = field(default_factory=DeadRules)

    def longest_delay_s(self) -> float:
        """No attempt is put off for longer."""
        return max(self.retry_delays_s, default=0.0) * LONGEST_SPREAD

    def items(self, entity: Entity) -> int:
        """Most records in one call."""
        return self.batch_items.get(entity.name, entity.batch_size)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`chance` in [0, 1); `stopping`: whether no further call should be begun."""

    clock: Clock
    chance: Callable[[], float] = random.random
    stopping: Callable[[], bool] = field(default=lambda: False)


@dataclass
class Round:
    """Records of one entity on their way to the target, and what their documents said before.

    `ahead`: places of replays that a whole line waits for. `failed`: keys that have had an attempt since.
    """

    entity: Entity
    standings: Mapping[str, Standing]
    settler: Settler
    stopped: bool = False
    ahead: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    @cached_property
    def again(self) -> frozenset[str]:
        """Keys of the records that have had an attempt."""
        return frozenset(key for key, standing in self.standings.items() if standing.attempts)


class Sender:
    """Ends every record it is given as done, dead, in retry or waiting; an OutageError leaves the rest untouched."""

    def __init__(self, caller: Caller, lines: Lines, rules: SendRules, around: Surroundings) -> None:
        self._caller, self._lines, self._rules, self._around = caller, lines, rules, around
        self._uncounted: OrderedDict[str, int] = OrderedDict()

    @property
    def stopping(self) -> bool:
        """No call is begun any more: what was given to `send` may be unfinished."""
        return self._around.stopping()

    async def send(self, round_: Round, records: Sequence[ImportRecord]) -> None:
        """Raises the first error of any lane, after the calls under way have come back."""
        running = [self._lane(round_, lane) for lane in lanes(records, self._rules.lanes)]
        outcomes = await asyncio.gather(*running, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _lane(self, round_: Round, records: Sequence[ImportRecord]) -> None:
        items, size_bytes = self._rules.items(round_.entity), self._rules.batch_bytes
        for batch in batches(records, Cut(items, size_bytes, round_.again, self._one_of_a_line)):
            await round_.settler.room()
            if round_.stopped or round_.settler.failed or self.stopping:
                return
            try:
                await self._batch(round_, batch)
            except BaseException:
                round_.stopped = True
                raise

    def _one_of_a_line(self) -> bool:
        """Where nothing may pass a refused record, it must not stand in one call with what follows it."""
        return self._caller.overtakes() or not self._rules.may_pass_dead

    async def _batch(self, round_: Round, batch: Sequence[ImportRecord], *, known_bad: bool = False) -> None:
        sendable = self._admit(round_, batch)
        if not sendable:
            return
        try:
            await self._call(round_, sendable, known_bad=known_bad)
        except PoisonedError as poisoned:
            if not known_bad:
                say_bisected(len(sendable), poisoned.code)
            for half in halves(sendable):
                if self.stopping:
                    # Nor may this lane's next batch go, should there be time again by then: it comes after this one.
                    round_.stopped = True
                    return
                await self._batch(round_, half, known_bad=True)

    async def _call(self, round_: Round, batch: Sequence[ImportRecord], *, known_bad: bool) -> None:
        """What is made of the answers is settled with a link to the call. PoisonedError: these have to be halved."""
        with span("import.call", traceparents(batch), entity=round_.entity.name, records=len(batch)):
            try:
                tried = len(batch) == 1 and batch[0].key in round_.again
                results = await self._caller.call(round_.entity, batch, known_bad=known_bad or tried)
            except PoisonedError as poisoned:
                if len(batch) > 1:
                    raise
                self._take_poisoned(round_, batch[0], poisoned)
            else:
                await self._take(round_, batch, results)

    def _take_poisoned(self, round_: Round, record: ImportRecord, poisoned: PoisonedError) -> None:
        if not poisoned.permanent and not self._caller.weigh_poisoned(record, again=record.key in round_.again):
            raise self._caller.outage_behind(round_.entity)
        ending = self._attempt(round_, record, poisoned.code, temporary=not poisoned.permanent)
        round_.settler.add([ending], current_traceparent())

    def _admit(self, round_: Round, batch: Sequence[ImportRecord]) -> list[ImportRecord]:
        """Whose line has begun to wait stays behind."""
        free: list[ImportRecord] = []
        behind: list[ImportRecord] = []
        for record in batch:
            (behind if self._waits(round_, record) else free).append(record)
        if behind:
            round_.settler.add([Waits(record, Behind.BEHIND) for record in behind])
        return free

    def _waits(self, round_: Round, record: ImportRecord) -> bool:
        if record.line not in self._lines:
            return False
        return place_of(record.raw) not in round_.ahead or self._lines.has_moment(record.line)

    async def _take(self, round_: Round, batch: Sequence[ImportRecord], results: Sequence[ItemResult]) -> None:
        said, overtaken = told(batch, results)
        if overtaken:
            self._caller.note_overtaking()
        answers = list(zip(batch, results, said, strict=True))
        believed = await self._caller.weigh(round_.entity, answers, round_.again)
        endings: list[Ending] = []
        for record, result, one in answers:
            if one is Told.DONE:
                erred = round_.standings[record.key].erred or record.key in round_.failed
                endings.append(Done(record, result.status, result.id, erred))
            elif one is Told.REFUSED:
                endings.append(self._attempt(round_, record, own_code(result.code), temporary=False))
            elif one is Told.TEMPORARY and believed:
                endings.append(self._attempt(round_, record, own_code(result.code), temporary=True))
            elif one is Told.BEHIND and believed:
                endings.append(Waits(record, Behind.BEHIND))
        round_.settler.add(endings, current_traceparent())
        orphan = next((record for record, _, one in answers if one is Told.ORPHAN), None)
        if orphan is not None:
            raise await self._caller.outage_of_lost_parent(orphan)
        if not believed:
            raise self._caller.outage_behind(round_.entity)

    def _attempt(self, round_: Round, record: ImportRecord, code: str, *, temporary: bool) -> Ending:
        round_.failed.add(record.key)
        attempts = self._attempts_before(record, round_.standings[record.key]) + 1
        delay = retry_delay(attempts, self._rules.retry_delays_s, self._around.chance()) if temporary else None
        if delay is None:
            why = EXHAUSTED if temporary else PERMANENT
            self._caller.died(record)
            if why is EXHAUSTED or not self._rules.may_pass_dead:
                self._lines.wait_at_gate(record.line)
            return Dead(record.raw, record.entity, record, why, code, _MESSAGES[why], attempts, record.parked)
        not_before = self._around.clock.now() + timedelta(seconds=delay)
        self._lines.wait_until(record.line, not_before.timestamp())
        return Retry(record, attempts, code, not_before)

    def _attempts_before(self, record: ImportRecord, standing: Standing) -> int:
        """What the document cannot count this process does, while it lives: or it would be the first one for ever."""
        counted = attempts_before(record, standing)
        if counted is not None:
            return counted
        place = place_of(record.raw)
        before = self._uncounted.pop(place, 0)
        self._uncounted[place] = before + 1
        if len(self._uncounted) > _MOST_UNCOUNTED:
            self._uncounted.popitem(last=False)
        return before
