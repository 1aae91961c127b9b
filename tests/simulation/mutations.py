"""Bugs put into the real code on purpose: what the simulation finds, and after how many schedules from seed 0.

    a commit passes an unfinished record                            1
    an offset is finished before its record is written down         4
    a parked row is dropped before its record is written down      71
    a dead record gets its status before its row                  428
    a version is skipped because another one is imported            2
    children are released before their parent is written down       1
    what was seen below is forgotten                                15
    messages go without their chat                                  1
    a record in retry holds nobody                                  2
    an outage behind the target is an attempt                     866
    a late importer brings back what is dead                      178
    older content counts no attempts                                3
    what is unfinished is not read again                            1

Where the seeds lead changes with the plans; `WITHIN` is what the tests hold them to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from tests.simulation.runner import BrokenScheduleError, run_seeds

from chatferry.common.streaming.consumer import RecordConsumer
from chatferry.common.streaming.progress import Progress
from chatferry.importer.caller import Caller
from chatferry.importer.domain.records import place_of
from chatferry.importer.domain.standing import Standing, Verdict, attempts_before, judge
from chatferry.importer.flow import Importer
from chatferry.importer.gate import Gate
from chatferry.importer.lines import Lines
from chatferry.importer.sending import Sender
from chatferry.importer.settle import Books, _leaving, _of_this_delivery

Patches = Sequence[tuple[Any, str, Any]]


def _commits_past_unfinished() -> Patches:
    def committable(self: Progress) -> dict[Any, int]:
        return dict(self._next)

    return [(Progress, "committable", committable)]


def _finishes_before_it_writes() -> Patches:
    written = Books._settle

    async def settle(self: Books, endings: Sequence[Any], progress: Progress | None) -> None:
        if progress is not None:
            progress.finish(_of_this_delivery(endings))
        await written(self, endings, progress)

    return [(Books, "_settle", settle)]


def _drops_before_it_writes() -> Patches:
    written = Books._settle

    async def settle(self: Books, endings: Sequence[Any], progress: Progress | None) -> None:
        await self.parked.drop([place_of(raw) for raw in _leaving(endings)])
        await written(self, endings, progress)

    return [(Books, "_settle", settle)]


def _status_before_dead_row() -> Patches:
    settled = Books.settle_dead

    async def settle_dead(self: Books, dead: Sequence[Any]) -> None:
        for one in dead:
            if one.record is not None:
                failed = [(one.record.key, one.record.version, one.attempts, one.code)]
                await self.records.mark_failed(one.entity, "IMPORT_ERR", failed)
        await settled(self, dead)

    return [(Books, "settle_dead", settle_dead)]


def _no_version_filter() -> Patches:
    def imported(record: Any, standing: Standing | None, replaying: Collection[str]) -> Verdict:
        if standing is not None and standing.imported_version:
            return Verdict.DONE
        return judge(record, standing, replaying)

    return [("chatferry.importer.flow", "judge", imported)]


def _releases_before_it_is_written() -> Patches:
    async def import_(self: Importer, records: Sequence[Any], settler: Any) -> None:
        for entity in self._depths:
            stage = [record for record in records if record.entity is entity]
            if stage:
                for record in stage:
                    self._gate._remember(entity.name, record.line.parent)
                await self._import_entity(entity, stage, settler)
                await settler.flush()
                if settler.failed:
                    return
                self._release_children(entity, stage)

    return [(Importer, "_import", import_)]


def _forgets_what_was_seen_below() -> Patches:
    async def without_finished(self: Importer, records: Sequence[Any], settler: Any) -> Sequence[Any]:
        del self, settler
        return records

    return [(Importer, "_without_finished", without_finished)]


def _no_gate() -> Patches:
    async def open_(self: Gate, entity: Any, parents: Any) -> set[int]:
        del self, entity, parents
        return set()

    return [(Gate, "closed_parents", open_)]


def _retry_holds_nobody() -> Patches:
    def nothing(self: Lines, line: Any, moment: float) -> None:
        del self, line, moment

    return [(Lines, "wait_until", nothing)]


def _outage_is_an_attempt() -> Patches:
    async def believed(self: Caller, *_: Any) -> bool:
        return True

    return [(Caller, "weigh", believed)]


def _late_retry_brings_the_dead_back() -> Patches:
    return [("tests.simulation.stores", "outlasting", lambda _: [])]


def _older_content_counts_no_attempts() -> Patches:
    def before(self: Sender, record: Any, standing: Standing) -> int:
        return attempts_before(record, standing) or 0

    return [(Sender, "_attempts_before", before)]


def _unfinished_is_not_read_again() -> Patches:
    def stay(self: RecordConsumer, offsets: Any) -> None:
        del self, offsets

    return [(RecordConsumer, "_go_back", stay)]


MUTATIONS: Mapping[str, Callable[[], Patches]] = {
    "a commit passes an unfinished record": _commits_past_unfinished,
    "an offset is finished before its record is written down": _finishes_before_it_writes,
    "a parked row is dropped before its record is written down": _drops_before_it_writes,
    "a dead record gets its status before its row": _status_before_dead_row,
    "a version is skipped because another one is imported": _no_version_filter,
    "children are released before their parent is written down": _releases_before_it_is_written,
    "what was seen below is forgotten": _forgets_what_was_seen_below,
    "messages go without their chat": _no_gate,
    "a record in retry holds nobody": _retry_holds_nobody,
    "an outage behind the target is an attempt": _outage_is_an_attempt,
    "a late importer brings back what is dead": _late_retry_brings_the_dead_back,
    "older content counts no attempts": _older_content_counts_no_attempts,
    "what is unfinished is not read again": _unfinished_is_not_read_again,
}


WITHIN = 600
"""Most schedules that a bug may hide for; `RARE` ones are looked for by hand (`find`), as they take a while."""
RARE = frozenset({"a late importer brings back what is dead", "an outage behind the target is an attempt"})


def find(name: str, most: int) -> int | None:
    """How many schedules from seed 0 on it takes to find this bug; None when `most` are not enough."""
    with mutated(name):
        for seed in range(most):
            try:
                run_seeds([seed])
            except BrokenScheduleError:
                return seed + 1
    return None


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """The real code with this bug in it."""
    with ExitStack() as stack:
        for where, attribute, replacement in MUTATIONS[name]():
            if isinstance(where, str):
                stack.enter_context(patch(f"{where}.{attribute}", replacement))
            else:
                stack.enter_context(patch.object(where, attribute, replacement))
        yield
