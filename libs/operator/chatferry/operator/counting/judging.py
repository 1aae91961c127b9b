"""What was served, held against what was so: nothing here asks the service what it thinks of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from chatferry.operator.counting.platform import Calls, Moves, Step

MAX_CALLS_IN_A_SECOND = 30
"""What MAX allows."""
_OVERLAP_MS = 1_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One chat, as a reader got it. `max_chat`: its id at MAX, None when it is not linked. `updated_ms` 0: never."""

    chat: int
    max_chat: int | None
    count: int
    state: str
    updated_ms: int


class Truth:
    """Every count since the beginning, by chat of MAX, taken in piece by piece. Times are MAX's, in ms."""

    def __init__(self) -> None:
        self._steps: dict[int, list[Step]] = {}
        self.until_ms = 0

    @property
    def since_ms(self) -> int:
        """Since when to ask for more: of what was in force then, MAX tells only the newest of each ms."""
        return max(0, self.until_ms - _OVERLAP_MS)

    def take(self, now_ms: int, history: Mapping[int, Sequence[Step]]) -> list[tuple[int, Step]]:
        """What has moved since the last time, in the order of its moments; the first time nothing has."""
        first = not self._steps
        moved: list[tuple[int, Step]] = []
        for chat, steps in history.items():
            known = self._steps.setdefault(chat, [])
            newest = known[-1][0] if known else -1
            # Of two moves within one ms the second may have been unknown.
            same = sum(at == newest for at, _ in known)
            fresh = [step for step in steps if step[0] == newest][same:] + [step for step in steps if step[0] > newest]
            known.extend(fresh)
            moved.extend((chat, step) for step in fresh)
        self.until_ms = now_ms
        return [] if first else sorted(moved, key=lambda one: one[1][0])

    def now(self, max_chat: int) -> int | None:
        """The count; None: the bot is not in the chat."""
        steps = self._steps.get(max_chat)
        return steps[-1][1] if steps else None

    def right(self, max_chat: int, count: int, begun_ms: float, ended_ms: float) -> bool | None:
        """Whether that was the count at some moment of a reader's call; None: nobody can tell.

        Where the bot has been put out, the last count that it saw is the right one.
        """
        steps = self._steps.get(max_chat, [])
        known = False
        for index in range(len(steps) - 1, -1, -1):
            at_ms, value = steps[index]
            if at_ms > ended_ms:
                continue
            value = value if value is not None else self._before(steps, index)
            if value == count:
                return True
            known = known or value is not None
            if at_ms <= begun_ms:
                break
        return False if known else None

    @staticmethod
    def _before(steps: Sequence[Step], index: int) -> int | None:
        return next((count for _, count in reversed(steps[:index]) if count is not None), None)


def differences(counts: Mapping[int, int], replicas: Sequence[Iterable[Seen]]) -> list[str]:
    """What each replica serves otherwise than it is, in sentences; `counts`: of the chats that the bot is in."""
    wrong = []
    for number, seen in enumerate(replicas, start=1):
        served = {one.max_chat: one for one in seen if one.max_chat is not None}
        for chat, count in counts.items():
            one = served.get(chat)
            if one is None:
                wrong.append(f"replica {number} does not list chat {chat}, which has {count}")
            elif one.count != count:
                wrong.append(f"replica {number} serves {one.count} ({one.state}) for chat {chat}, which has {count}")
    return wrong


@dataclass(frozen=True, slots=True)
class Measured:
    """What was seen of readers' calls. `right` of `judged` served counts were so when they were served."""

    requests: int
    failed: int
    p99_ms: float
    judged: int
    right: int

    @property
    def right_share(self) -> float:
        return self.right / self.judged if self.judged else 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a demo. Shares lie between 0 and 1."""

    exact_after_quiet: bool
    fresh_share: float
    served_requests: int
    p99_ms: float
    max_calls_in_any_second: int
    calls_total: int
    duplicate_reads: int
    events_missed_share: float
    failed_requests: int
    changes: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def wrong(self) -> list[str]:
        """Why it is no success, in sentences."""
        found = []
        if not self.exact_after_quiet:
            found.append("some counts were wrong after the quiet")
        if self.max_calls_in_any_second > MAX_CALLS_IN_A_SECOND:
            most, allowed = self.max_calls_in_any_second, MAX_CALLS_IN_A_SECOND
            found.append(f"MAX was called {most} times within a second, and allows {allowed}")
        if self.duplicate_reads:
            found.append(f"{self.duplicate_reads} reads were begun while another of the same chat was under way")
        return found


def judge(different: Sequence[str], measured: Measured, calls: Calls, moves: Moves) -> Verdict:
    return Verdict(
        exact_after_quiet=not different,
        fresh_share=round(measured.right_share, 5),
        served_requests=measured.requests,
        p99_ms=round(measured.p99_ms, 2),
        max_calls_in_any_second=calls.most_in_a_second,
        calls_total=calls.total,
        duplicate_reads=calls.twice_at_once,
        events_missed_share=round(moves.missed_share, 5),
        failed_requests=measured.failed,
        changes=moves.total,
    )
