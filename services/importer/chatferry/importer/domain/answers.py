"""What a target's answers mean for the records, and for the target; when a record is tried again."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from chatferry.common.contracts.target import BEHIND, PARENT_MISSING, ItemResult
from chatferry.importer.domain.records import ImportRecord, Line

LONGEST_SPREAD = 1.2
_PLAIN_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,47}")
_DIGITS_IN_A_CODE = 4


class Told(Enum):
    """What a result says of its record. BEHIND: not tried, for an earlier one of its line has to come again first.

    ORPHAN: the target has lost the parent, which it took before.
    """

    DONE = auto()
    REFUSED = auto()
    TEMPORARY = auto()
    BEHIND = auto()
    ORPHAN = auto()


def told(batch: Sequence[ImportRecord], results: Sequence[ItemResult]) -> tuple[list[Told], bool]:
    """What each result says; and whether a record was taken though an earlier one of its line has to come again."""
    said: list[Told] = []
    coming_again: set[Line] = set()
    overtaken = False
    for record, result in zip(batch, results, strict=True):
        held = record.line in coming_again
        one = _told(result, held=held)
        if one is Told.TEMPORARY:
            coming_again.add(record.line)
        overtaken |= held and one is Told.DONE
        said.append(one)
    return said, overtaken


def _told(result: ItemResult, *, held: bool) -> Told:
    if result.status != "error":
        return Told.DONE
    if result.code == PARENT_MISSING:
        return Told.ORPHAN
    if result.retryable is False:
        return Told.REFUSED
    return Told.BEHIND if held and result.code == BEHIND else Told.TEMPORARY


def retry_delay(attempts: int, delays_s: Sequence[float], chance: float) -> float | None:
    """Seconds until the next attempt, None when there is none. `chance` in [0, 1) spreads it by up to a fifth."""
    if attempts > len(delays_s):
        return None
    return delays_s[attempts - 1] * (1 + chance * (LONGEST_SPREAD - 1))


def own_code(code: str | None) -> str:
    """The target's error code as ours: a plain token is kept, anything else could be text, or a telephone number."""
    if code and _PLAIN_CODE.fullmatch(code) and sum(sign.isdigit() for sign in code) <= _DIGITS_IN_A_CODE:
        return f"target.{code}"
    return "target.error"


class Window:
    """The last 100 answers about records: more than half of them temporary errors is an outage behind the target."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: deque[bool] = deque(maxlen=100)

    def add(self, retryable: Sequence[bool]) -> None:
        """Answers in order; True: the target asked to try again, or failed on that record alone."""
        self._last.extend(retryable)

    def outage(self) -> bool:
        """More than half of a hundred."""
        return sum(self._last) * 2 > 100

    def clear(self) -> None:
        """Forget; the target writes again."""
        self._last.clear()


class Drought:
    """A target that reads and cannot write, where too few records are on their way for the window to tell.

    A few different ones, none known to have failed before, that failed for now with nothing written between are an
    outage behind the target: for ten minutes. One that writes nothing for longer may have met a handful of records that
    it cannot take: they are answers again, so that what comes after them has its turn.
    """

    __slots__ = ("_failed", "_since")
    _A_FEW, _PATIENCE_S = 5, 600.0

    def __init__(self) -> None:
        self._failed: set[str] = set()
        self._since = 0.0

    def failed(self, keys: Collection[str], now_s: float) -> None:
        """These have."""
        if len(self._failed) < self._A_FEW:
            self._failed.update(keys)
            self._since = now_s

    def wrote(self) -> None:
        """The target has written something."""
        self._failed.clear()

    def outage(self, now_s: float) -> bool:
        """Whether what fails says something of the target, and nothing of the record."""
        return len(self._failed) >= self._A_FEW and now_s - self._since < self._PATIENCE_S


@dataclass(slots=True)
class _Suspect:
    """`most`: the largest call that it may go in; `writes_before`: what the target had written when it was first
    suspected."""

    most: int
    writes_before: int
    rounds: int = 0


class Suspects:
    """Records in calls that were refused with a time told, while the target was well each time that time was over.

    Nothing may be asked before, and until then the next call is cut anew: so each record counts for itself, and what is
    found out outlives the pauses. After three such rounds a call is halved in each further one.
    """

    __slots__ = ("_suspects",)
    _ROUNDS = 3
    _MOST = 10_000

    def __init__(self) -> None:
        self._suspects: OrderedDict[tuple[str, int], _Suspect] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._suspects)

    def too_many(self, batch: Sequence[ImportRecord]) -> bool:
        """Whether these would fail again together."""
        sizes = [self._suspects[key].most for record in batch if (key := _of(record)) in self._suspects]
        return len(batch) > min(sizes, default=len(batch))

    def blame(self, batch: Sequence[ImportRecord], writes: int) -> bool:
        """One more round; True when it is these records. `writes`: how often the target has written so far.

        A lone record is to blame where the target has written others since: one that cannot write at all says so of
        every record, and asks us to wait.
        """
        suspects = [self._suspects.setdefault(_of(record), _Suspect(len(batch), writes)) for record in batch]
        while len(self._suspects) > self._MOST:
            self._suspects.popitem(last=False)
        for one in suspects:
            one.rounds += 1
            if one.rounds >= self._ROUNDS:
                one.most = max(1, min(one.most, (len(batch) + 1) // 2))
        if len(suspects) > 1:
            return max(one.rounds for one in suspects) >= self._ROUNDS
        [lone] = suspects
        return lone.rounds >= self._ROUNDS and writes > lone.writes_before

    def clear(self, batch: Sequence[ImportRecord]) -> None:
        """The target has answered for each of these, or they have died."""
        for record in batch:
            self._suspects.pop(_of(record), None)

    def forget(self) -> None:
        """It was an outage."""
        self._suspects.clear()


def _of(record: ImportRecord) -> tuple[str, int]:
    return record.key, record.version
