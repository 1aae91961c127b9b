"""The limit of dead letters: a family of which too many die is stopped, before its dead letters fill the topic."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chatferry.common.errors import OutageError
from chatferry.importer.domain.records import Line
from chatferry.importer.ports import Dead, Done, Ending, Families, Retry, Waits

PART = "dead_letters"
_WHAT_TO_DO = (
    "nothing more of {family} is delivered, and what is left stays as it is: `chatferry dlq list`, mend the cause, "
    "then `chatferry dlq resume {family}`"
)


@dataclass(frozen=True, slots=True)
class DeadRules:
    """`share`: of the last `of_last` endings at most so many may be dead letters; `in_a_row`: so many one by one."""

    share: float = 0.5
    of_last: int = 200
    in_a_row: int = 100


@dataclass(slots=True)
class _Tally:
    """The last endings of a family: the codes of dead letters, None for what arrived."""

    last: deque[str | None]
    in_a_row: int = 0

    def copy(self) -> _Tally:
        return _Tally(self.last.copy(), self.in_a_row)

    def arrived(self) -> None:
        self.last.append(None)
        self.in_a_row = 0

    def died(self, code: str) -> None:
        self.last.append(code)
        self.in_a_row += 1

    def passed(self, rules: DeadRules) -> str | None:
        """What the newest ending was too much for."""
        codes = [code for code in self.last if code is not None]
        if self.in_a_row > rules.in_a_row:
            return f"more than {rules.in_a_row} records in a row cannot be imported"
        if len(codes) > rules.share * rules.of_last:
            return f"more than {rules.share:.0%} of the last {rules.of_last} records cannot be imported"
        return None

    def commonest(self) -> str:
        return Counter(code for code in self.last if code is not None).most_common(1)[0][0]


@dataclass(frozen=True, slots=True)
class Weighed:
    """`admitted`: endings that may be written down. `passed`: why those of a family may not, by family."""

    admitted: Sequence[Ending]
    passed: Mapping[str, str] = field(default_factory=dict)
    tallies: Mapping[str, _Tally] = field(default_factory=dict)


class DeadLimit:
    """What one importer has seen die. Skipped redeliveries, retries and what waits say nothing."""

    def __init__(self, families: Families, rules: DeadRules) -> None:
        self._families, self._rules = families, rules
        self._tallies: dict[str, _Tally] = {}

    def weigh(self, endings: Sequence[Ending]) -> Weighed:
        """Take the endings in order; a death beyond the limit, and each one after it, is not admitted.

        Nor is what would wait behind it: it has to come again after it, in its order.
        """
        tallies: dict[str, _Tally] = {}
        passed: dict[str, str] = {}
        admitted: list[Ending] = []
        behind: set[Line] = set()
        for ending in endings:
            if isinstance(ending, Dead):
                if not self._admits(ending, tallies, passed):
                    behind.update([ending.record.line] if ending.record else [])
                    continue
            elif isinstance(ending, Done) and ending.status != "skipped":
                self._tally(ending.record.entity.family, tallies).arrived()
            elif isinstance(ending, Waits | Retry) and ending.record.line in behind:
                continue
            admitted.append(ending)
        return Weighed(admitted, passed, tallies)

    def keep(self, weighed: Weighed) -> None:
        """They are written down now. What could not be is weighed again when it comes again."""
        self._tallies.update(weighed.tallies)

    async def halt(self, weighed: Weighed) -> None:
        """Stop the families that passed the limit. Raises OutageError when there are any; a resumed one begins anew."""
        for family, why in weighed.passed.items():
            await self._families.halt(family, why)
            self._tallies.pop(family, None)
        for why in weighed.passed.values():
            raise OutageError(PART, why)

    def _tally(self, family: str, fresh: dict[str, _Tally]) -> _Tally:
        if family not in fresh:
            known = self._tallies.get(family)
            fresh[family] = known.copy() if known else _Tally(deque(maxlen=self._rules.of_last))
        return fresh[family]

    def _admits(self, dead: Dead, tallies: dict[str, _Tally], passed: dict[str, str]) -> bool:
        family = dead.entity.family
        if family in passed:
            return False
        tally = self._tally(family, tallies)
        after = tally.copy()
        after.died(dead.code)
        why = after.passed(self._rules)
        if why is None:
            tallies[family] = after
            return True
        what_to_do = _WHAT_TO_DO.format(family=family)
        passed[family] = f"{why}, most of them for {after.commonest()}; {what_to_do}"
        return False


def halted(states: Iterable[str | None]) -> str | None:
    """One sentence of all families that are stopped; None when none is."""
    return "; ".join(sentence for sentence in states if sentence is not None) or None
