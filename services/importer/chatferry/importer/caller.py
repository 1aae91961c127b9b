"""Calls to the target, and what their failure means: an outage, a poisoned batch, or a closed door (design §3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from chatferry.common.clock import Clock
from chatferry.common.contracts.target import PARENT_MISSING, ItemResult
from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.errors import OutageError, PermanentError
from chatferry.common.telemetry.metrics import Metrics
from chatferry.common.telemetry.traces import span
from chatferry.importer.diary import TargetNews
from chatferry.importer.domain.answers import Drought, Suspects, Told, Window
from chatferry.importer.domain.records import ImportRecord
from chatferry.importer.ports import CallFailedError, Families, Target, Trouble

_WRITTEN = ("created", "updated")
_BEHIND = "the target answers, but takes few of the records; work goes on when it takes them"
_LOST = (
    "the target no longer has {parents} that it took before (PARENT_MISSING): it was emptied or restored from a "
    "backup; nothing is sent until it has them again"
)


class PoisonedError(PermanentError):
    """The target is well, this batch is not: bisect it. `permanent`: it was refused, not merely failing."""

    def __init__(self, code: str, *, permanent: bool) -> None:
        super().__init__(code, "the target fails on these records only")
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class CallRules:
    """`tries`: calls with one batch before it is bisected; `pause_s` between them."""

    tries: int = 3
    pause_s: float = 0.5


class Caller:
    """One per process: what it has seen of the target is shared by all lanes."""

    def __init__(self, target: Target, families: Families, clock: Clock, metrics: Metrics, rules: CallRules) -> None:
        self._target, self._families, self._clock, self._metrics, self._rules = target, families, clock, metrics, rules
        self._window, self._drought = Window(), Drought()
        self._suspects, self._writes = Suspects(), 0
        self._good: dict[str, ImportRecord] = {}
        self._suspect: Entity | None = None
        self._behind = self._overtakes = False
        self._orphan: ImportRecord | None = None
        self._news = TargetNews()

    async def call(self, entity: Entity, batch: Sequence[ImportRecord], *, known_bad: bool = False) -> list[ItemResult]:
        """Results in order. Raises OutageError, or PoisonedError (at once when the batch is `known_bad`)."""
        tries = 1 if known_bad else self._rules.tries
        code = "target.suspected"
        if self._suspects.too_many(batch):
            raise PoisonedError(code, permanent=False)
        for attempt in range(tries):
            if attempt:
                await self._clock.sleep(self._rules.pause_s * attempt)
            try:
                results = await self._send(entity, batch)
            except CallFailedError as failed:
                await self._tell_apart(entity, batch, failed)
                code = failed.code
            else:
                self._suspects.clear(batch)
                return results
        raise PoisonedError(code, permanent=False)

    def overtakes(self) -> bool:
        """Whether the target has taken a record though an earlier one of its line has to come again."""
        return self._overtakes

    def note_overtaking(self) -> None:
        """It has: from now on no two records of a line go in one call."""
        self._overtakes = True
        self._metrics.overtaken.inc()

    async def weigh(
        self, entity: Entity, answers: Sequence[tuple[ImportRecord, ItemResult, Told]], again: Collection[str] = ()
    ) -> bool:
        """True when the errors among the results are answers about records; False: an outage behind the target.

        The window decides, from records that are tried for the first time: those tried `again` (by key) are the ones
        that fail, and say nothing of the others. All temporary: a record that the target took before is sent once
        more and has to be taken too; it proves no write. Where none was taken yet, a single record is believed.
        While nothing is written, a few different records are not.
        """
        tried = [answer for answer in answers if answer[2] not in (Told.BEHIND, Told.ORPHAN)]
        if not tried:
            return True
        temporary = [one is Told.TEMPORARY for _, _, one in tried]
        wrote = any(result.status in _WRITTEN for _, result, _ in tried)
        failed = {r.key for r, _, one in tried if one is Told.TEMPORARY}
        self._note(wrote, {key for key in failed if self._says_something(key, again)})
        if failed and self._drought.outage(self._clock.monotonic()):
            return False
        if wrote and sum(temporary) * 2 <= len(temporary) and self._window.outage():
            self._window.clear()
        self._window.add(
            [one is Told.TEMPORARY for r, _, one in tried if one is not Told.TEMPORARY or r.key not in again]
        )
        taken = next((record for record, _, one in tried if one is Told.DONE), None)
        if taken is not None:
            self._good[entity.name] = taken
        if self._window.outage():
            return False
        good = self._taken_before(entity)
        if not all(temporary):
            return True
        return len({record.key for record, _, _ in tried}) == 1 if good is None else await self._takes(good)

    def weigh_poisoned(self, record: ImportRecord, *, again: bool) -> bool:
        """True when a record that failed alone, call and all, has had an attempt; False: the target fails on most."""
        if self._says_something(record.key, {record.key} if again else ()):
            self._note(wrote=False, failed={record.key})
        if self._drought.outage(self._clock.monotonic()):
            return False
        if not again:
            self._window.add([True])
        return not self._window.outage()

    def _says_something(self, key: str, again: Collection[str]) -> bool:
        """Of the target, by its failure: one that is tried again has failed while others were written.

        A process that has seen nothing written does not know that.
        """
        return key not in again or not self._writes

    def _note(self, wrote: bool, failed: Collection[str]) -> None:
        self._writes += wrote
        if wrote:
            self._drought.wrote()
        else:
            self._drought.failed(failed, self._clock.monotonic())

    def died(self, record: ImportRecord) -> None:
        """It is not suspected any more: should it come again, by a replay, it is tried like any other."""
        self._suspects.clear([record])

    def outage_behind(self, entity: Entity) -> OutageError:
        """The outage to raise once `weigh` has said so."""
        self._suspect, self._behind = entity, True
        self._news.wrong("target.behind", entity, "target.behind")
        return OutageError("target", _BEHIND)

    async def outage_of_lost_parent(self, orphan: ImportRecord) -> OutageError:
        """The outage to raise: the target has lost what it took before, and no record is to blame for it."""
        self._suspect, self._orphan = orphan.entity, orphan
        sentence = _LOST.format(parents=orphan.entity.parent)
        await self._families.block(orphan.entity.family, sentence)
        self._news.wrong("target.parent_lost", orphan.entity, PARENT_MISSING)
        return OutageError("target", sentence)

    async def recheck(self) -> None:
        """Ask the target for something small. Raises OutageError while it is away."""
        entity = self._suspect
        if entity is not None:
            with span("target.recheck", entity=entity.name):
                await self._recheck(entity)

    async def _recheck(self, entity: Entity) -> None:
        try:
            await self._target.probe(entity)
        except CallFailedError as failed:
            if failed.trouble is not Trouble.THROTTLED:
                self._suspects.forget()
            raise await self._outage(entity, failed) from None
        if self._orphan is not None and not await self._has_parent_of(self._orphan):
            # Said again: another importer, which has met no such record, may have taken it back.
            raise await self.outage_of_lost_parent(self._orphan)
        self._orphan = None
        good = self._taken_before(entity)
        if (self._behind or self._suspects) and good is not None and not await self._takes(good):
            self._suspects.forget()
            raise OutageError("target", _BEHIND)
        self._behind = False
        await self._families.block(entity.family, None)
        self._news.well(entity)

    async def unblock(self, blocked: Mapping[str, str], *, anew: bool) -> None:
        """Families that are said to be blocked (and why): free again if the target says so.

        Of a lost parent no question tells but the one of whoever holds its child. `anew`: partitions have come or gone,
        so whoever said it may be gone; if it holds still, its holder says it again.
        """
        for family, sentence in blocked.items():
            entity = next((entity for entity in ENTITIES.values() if entity.family == family), None)
            if entity is not None and (anew or not _of_lost_parent(sentence)):
                self._suspect = entity
                await self.recheck()

    async def _send(self, entity: Entity, batch: Sequence[ImportRecord]) -> list[ItemResult]:
        with self._metrics.timed("target", "batch"):
            return await self._target.send(entity, batch)

    def _taken_before(self, entity: Entity) -> ImportRecord | None:
        """A record that this process saw taken: one of this entity, or at least one of another."""
        return self._good.get(entity.name) or next(iter(self._good.values()), None)

    async def _takes(self, good: ImportRecord) -> bool:
        """OutageError when we were asked to wait: then nobody knows."""
        try:
            [result] = await self._send(good.entity, [good])
        except CallFailedError as failed:
            if failed.trouble is Trouble.THROTTLED:
                raise await self._outage(good.entity, failed) from None
            return False
        return result.status != "error"

    async def _has_parent_of(self, orphan: ImportRecord) -> bool:
        """Whatever else the target has against the record is an answer about it."""
        try:
            [result] = await self._send(orphan.entity, [orphan])
        except CallFailedError:
            return False
        return result.code != PARENT_MISSING

    async def _tell_apart(self, entity: Entity, batch: Sequence[ImportRecord], failed: CallFailedError) -> None:
        """Returns when the target is well apart from this batch. Raises OutageError or PoisonedError.

        Where a time was told, nobody may ask before it is over: `recheck` does then, and the batch comes again.
        """
        if failed.trouble is Trouble.REFUSED:
            raise PoisonedError(failed.code, permanent=True) from None
        if failed.trouble is not Trouble.SHAKY:
            raise await self._outage(entity, failed) from None
        if failed.retry_after_s:
            if self._suspects.blame(batch, self._writes):
                raise PoisonedError(failed.code, permanent=False) from None
            raise await self._outage(entity, failed) from None
        try:
            with self._metrics.timed("target", "probe"):
                await self._target.probe(entity)
        except CallFailedError as also_failed:
            if also_failed.trouble is not Trouble.THROTTLED:
                self._suspects.forget()
            raise await self._outage(entity, also_failed) from None

    async def _outage(self, entity: Entity, failed: CallFailedError) -> OutageError:
        self._suspect = entity
        denied = failed.trouble is Trouble.DENIED
        if denied:
            await self._families.block(entity.family, failed.sentence)
        self._news.wrong("target.blocked" if denied else "target.away", entity, failed.code)
        return OutageError("target", failed.sentence, retry_after_s=failed.retry_after_s)


def _of_lost_parent(sentence: str) -> bool:
    return any(sentence == _LOST.format(parents=entity.parent) for entity in ENTITIES.values())
