"""The target in memory: it knows versions, and fails as it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.simulation.stores import Asking
from tests.simulation.wire import Refusal

from chatferry.common.contracts.target import BEHIND, ItemResult
from chatferry.common.entities import Entity
from chatferry.importer.domain.records import ImportRecord, Line
from chatferry.importer.ports import CallFailedError, Trouble

FOR_EVER = 99


@dataclass(frozen=True, slots=True)
class Error:
    """How a record fails, so many `times`: retry and refuse are answers about it, poison and reject fail its call."""

    kind: str
    times: int


@dataclass
class TargetState:
    """What is there, and what goes wrong. `blame`: how often each record failed by itself, by kind.

    `trouble`: how every call fails while the target is away; `behind` answers, and writes nothing. What a lone record
    met then is a `blip` (the probe after the call may find the target well again) or, as long as its process knows of
    no record that the target took, `alone` (such an answer is believed): neither is an outage that anybody could see.
    """

    on_created: Callable[[ImportRecord, Sequence[ImportRecord]], None]
    holds: bool
    stored: dict[str, int] = field(default_factory=dict)
    errors: dict[str, Error] = field(default_factory=dict)
    blame: Counter[tuple[str, str]] = field(default_factory=Counter)
    trouble: Trouble | None = None
    behind: bool = False

    def take(self, records: Sequence[ImportRecord], *, took: bool) -> list[ItemResult]:
        """One call of a process that `took` answers before. Raises Refusal."""
        # One that was published twice, and comes twice in a call, is a lone one too.
        lone = len({record.key for record in records}) == 1
        if lone and self.trouble is not None:
            self.blame[records[0].key, "blip"] += 1
        elif lone and self.behind:
            self.blame[records[0].key, "blip" if took else "alone"] += 1
        self.answer()
        for record in records:
            self._spoil(record, records)
        if self.behind:
            return [ItemResult(key=record.key, status="error", code="LATER", retryable=True) for record in records]
        results: list[ItemResult] = []
        coming_again: set[Line] = set()
        for record in records:
            if self.holds and record.line in coming_again:
                results.append(ItemResult(key=record.key, status="error", code=BEHIND, retryable=True))
                continue
            results.append(self._take(record, records))
            if results[-1].retryable:
                coming_again.add(record.line)
        return results

    def answer(self) -> None:
        """Raises Refusal while the target is away."""
        if self.trouble is not None:
            raise Refusal(CallFailedError(self.trouble, "target.away", "away"))

    def _spoil(self, record: ImportRecord, call: Sequence[ImportRecord]) -> None:
        error = self.errors.get(record.key)
        if error is None or error.kind not in ("poison", "reject"):
            return
        trouble = Trouble.SHAKY if error.kind == "poison" else Trouble.REFUSED
        if len(call) == 1:
            self._count(record, error)
        raise Refusal(CallFailedError(trouble, f"target.{error.kind}", "this batch"))

    def _count(self, record: ImportRecord, error: Error) -> None:
        self.blame[record.key, error.kind] += 1
        if error.times <= 1:
            del self.errors[record.key]
        elif error.times < FOR_EVER:
            self.errors[record.key] = Error(error.kind, error.times - 1)

    def _take(self, record: ImportRecord, call: Sequence[ImportRecord]) -> ItemResult:
        error = self.errors.get(record.key)
        if error is not None:
            self._count(record, error)
            return ItemResult(key=record.key, status="error", code="NO", retryable=error.kind == "retry")
        before = self.stored.get(record.key, 0)
        there = f"t{record.key}"
        if before >= record.version:
            return ItemResult(key=record.key, status="unchanged" if before == record.version else "stale", id=there)
        if not before:
            self.on_created(record, call)
        self.stored[record.key] = record.version
        return ItemResult(key=record.key, status="updated" if before else "created", id=there)


class SimulatedTarget:
    """Port `Target` of one process."""

    def __init__(self, state: TargetState, ask: Asking) -> None:
        self._state, self._ask = state, ask
        self._took = False

    async def send(self, entity: Entity, records: Sequence[ImportRecord]) -> list[ItemResult]:
        named = ", ".join(f"{record.key}@{record.version}" for record in records)

        def time_out() -> Exception:
            if len(records) == 1:
                self._state.blame[records[0].key, "blip"] += 1
            return CallFailedError(Trouble.SHAKY, "target.unreachable", "no answer")

        del entity
        effects = [lambda: self._state.take(records, took=self._took)]
        results: list[ItemResult] = await self._ask(("target", f"import {named}"), effects, time_out)
        self._took = self._took or any(result.status != "error" for result in results)
        return results

    async def probe(self, entity: Entity) -> None:
        del entity
        await self._ask(("target", "probe"), [self._state.answer], _no_answer)


def _no_answer() -> Exception:
    return CallFailedError(Trouble.SHAKY, "target.unreachable", "no answer")
