"""Every call that arrived, whatever became of it: the log that says how much the platform was really asked."""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from chatferry.simulators.clock import Clock

WINDOW_S = 1.0


@dataclass(frozen=True, slots=True)
class Call:
    """A call in flight: its place in the log."""

    index: int
    path: str
    chat_id: int | None


class Traffic:
    """Times are kept twice: steady real seconds for windows, the clock's milliseconds for questions since when.

    A chat is *read twice at once* when a read of it arrives while another one is in flight: from its arrival until its
    answer is out or its caller gone.
    """

    def __init__(self, clock: Clock, count_read: str, steady: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._steady = steady
        self._count_read = count_read
        self._paths: list[str] = []
        self._chats: list[int | None] = []
        self._steady_at = array("d")
        self._at_ms = array("q")
        self._statuses = array("h")
        self._doubled = array("b")
        self._in_flight: Counter[int] = Counter()

    def begin(self, path: str, chat_id: int | None) -> Call:
        doubled = False
        if path == self._count_read and chat_id is not None:
            doubled = self._in_flight[chat_id] > 0
            self._in_flight[chat_id] += 1
        self._paths.append(path)
        self._chats.append(chat_id)
        self._steady_at.append(self._steady())
        self._at_ms.append(int(self._clock() * 1000))
        self._statuses.append(0)
        self._doubled.append(doubled)
        return Call(len(self._paths) - 1, path, chat_id)

    def end(self, call: Call, status: int) -> None:
        """`status` 0: there was no answer, the connection was broken by us or by the caller."""
        self._statuses[call.index] = status
        if call.path == self._count_read and call.chat_id is not None:
            self._in_flight[call.chat_id] -= 1
            if not self._in_flight[call.chat_id]:
                del self._in_flight[call.chat_id]

    def summary(self, since_ms: int = 0) -> dict[str, Any]:
        """Of the calls that arrived at that moment of the clock or later; status 0: no answer (yet)."""
        first = self._first(since_ms)
        paths = self._paths[first:]
        return {
            "total": len(paths),
            "by_path": dict(Counter(paths)),
            "by_status": {str(status): count for status, count in sorted(Counter(self._statuses[first:]).items())},
            "reads": paths.count(self._count_read),
            "reads_twice_at_once": sum(self._doubled[first:]),
            "in_flight_now": sum(self._in_flight.values()),
            "max_in_any_second": most_in_a_window(self._steady_at[first:]),
        }

    def reads_by_chat(self, since_ms: int = 0) -> dict[int, int]:
        """Count reads that arrived, by chat, refused ones too."""
        first = self._first(since_ms)
        pairs = zip(self._paths[first:], self._chats[first:], strict=True)
        return dict(Counter(chat for path, chat in pairs if path == self._count_read and chat is not None))

    def doubled(self, since_ms: int = 0) -> list[dict[str, int | None]]:
        """Each read that arrived while another one of its chat was in flight."""
        return [
            {"at_ms": self._at_ms[index], "chat_id": self._chats[index]}
            for index in range(self._first(since_ms), len(self._paths))
            if self._doubled[index]
        ]

    def _first(self, since_ms: int) -> int:
        return bisect_left(self._at_ms, since_ms)


def most_in_a_window(times: "array[float]", window_s: float = WINDOW_S) -> int:
    """The most of these ascending times that lie in any window, its beginning included and its end not."""
    most = start = 0
    for end, moment in enumerate(times):
        while moment - times[start] >= window_s:
            start += 1
        most = max(most, end - start + 1)
    return most
