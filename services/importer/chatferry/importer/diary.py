"""What on-call reads of an importer: a line for each call or change that matters, never one for a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from chatferry.common.entities import Entity
from chatferry.common.telemetry.logs import about, get_logger
from chatferry.importer.domain.standing import FamilyState
from chatferry.importer.ports import Dead

log = get_logger(__name__)
_NOTHING = FamilyState(set_open=False, blocked=None)


class Diary:
    """Knows which run each family is imported for, and what was said of it last."""

    def __init__(self) -> None:
        self._states: dict[str, FamilyState] = {}

    def of(self, entity: Entity) -> AbstractContextManager[None]:
        """Lines written inside name the entity, and the run whose Set is open."""
        return self._of(entity.name, entity.family)

    def states(self, states: Mapping[str, FamilyState]) -> None:
        """What the families' documents say now; whatever has changed is said."""
        before, self._states = self._states, dict(states)
        for family, now in states.items():
            with self._of(family, family):
                _say_changes(before.get(family, _NOTHING), now)

    def died(self, entity: Entity, dead: Sequence[Dead]) -> None:
        """These are written down as dead letters. `code`: the commonest; codes are ours, or plain tokens."""
        with self.of(entity):
            for error_class, count in Counter(one.error_class for one in dead).items():
                codes = Counter(one.code for one in dead if one.error_class == error_class)
                code = codes.most_common(1)[0][0]
                log.warning("records.dead", error_class=error_class, records=count, code=code)

    def replayed(self, entity: Entity, count: int) -> None:
        """So many replays have arrived; their dead letters have ended."""
        if count:
            with self.of(entity):
                log.info("replays.imported", records=count)

    def _of(self, entity: str, family: str) -> AbstractContextManager[None]:
        state = self._states.get(family)
        return about(entity=entity, run=state.run if state is not None else None)


class TargetNews:
    """Says once that something is wrong with the target, and once that it is over: probes repeat, lines do not."""

    def __init__(self) -> None:
        self._wrong: str | None = None

    def wrong(self, event: str, entity: Entity, code: str) -> None:
        """`event`: target.away, target.blocked, target.behind or target.parent_lost."""
        if self._wrong != event:
            self._wrong = event
            log.warning(event, entity=entity.name, code=code)

    def well(self, entity: Entity) -> None:
        """It has answered, and takes records."""
        if self._wrong is not None:
            log.info("target.back", entity=entity.name, after=self._wrong)
            self._wrong = None


def say_bisected(records: int, code: str) -> None:
    """A batch of so many is cut in halves until those are found that the target fails on."""
    log.warning("batch.bisected", records=records, code=code)


def _say_changes(before: FamilyState, now: FamilyState) -> None:
    if now.set_open != before.set_open:
        log.info("set.opened" if now.set_open else "set.closed")
    if now.halted is not None and before.halted is None:
        log.error("set.halted", reason=now.halted)
    elif now.halted is None and before.halted is not None:
        log.info("set.resumed")
