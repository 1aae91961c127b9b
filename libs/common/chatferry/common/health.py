"""Health that tells the truth: what is wrong, by name, from what the process last saw itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

Check = Callable[[], str | None]


@dataclass(slots=True)
class Health:
    """`alive` checks say whether the process should be restarted, `ready` ones whether it can do its work now.

    A check returns None when all is well, else a sentence. Outages are set and cleared by whoever meets them, here and
    nowhere else: the metric `outage` shows what `parts` says.
    """

    _alive: dict[str, Check] = field(default_factory=dict)
    _ready: dict[str, Check] = field(default_factory=dict)
    _away: dict[str, Check] = field(default_factory=dict)
    _outages: dict[str, str] = field(default_factory=dict)
    _met: set[str] = field(default_factory=set)
    _borne: frozenset[str] = frozenset()
    _lock: Lock = field(default_factory=Lock)

    def alive_when(self, name: str, check: Check) -> None:
        """Add a check of the process itself (a dead consume loop, say)."""
        self._alive[name] = check

    def ready_when(self, name: str, check: Check) -> None:
        """Add a check of what the process needs to work."""
        self._ready[name] = check

    def away_when(self, part: str, check: Check) -> None:
        """Add a part whose state is kept elsewhere: it is away for as long as the check has a sentence."""
        self._away[part] = check

    def outage(self, part: str, sentence: str | None) -> None:
        """A part went away (a sentence), or came back (None)."""
        with self._lock:
            if sentence is None:
                self._outages.pop(part, None)
            else:
                self._outages[part] = sentence
                self._met.add(part)

    @property
    def outages(self) -> dict[str, str]:
        """Parts that are away now, and what was seen."""
        with self._lock:
            return dict(self._outages)

    def parts(self) -> dict[str, bool]:
        """Whether each part that a check or an outage has named is away now."""
        with self._lock:
            told = {part: part in self._outages for part in self._met}
        away = _failed(self._away)
        return {part: told.get(part, False) or part in away for part in {*told, *self._away}}

    def bears(self, parts: frozenset[str]) -> None:
        """The service does its work without these, less well: they are named, and it is ready all the same."""
        self._borne = parts

    def unready(self) -> bool:
        """Whether something keeps the process from its work."""
        return bool(self.ready().keys() - self._borne)

    def alive(self) -> dict[str, str]:
        """What is wrong with the process, by check; empty when nothing is."""
        return _failed(self._alive)

    def ready(self) -> dict[str, str]:
        """What keeps the process from working, by check or part; empty when nothing does."""
        return {**_failed(self._alive), **_failed(self._ready), **_failed(self._away), **self.outages}


def _failed(checks: dict[str, Check]) -> dict[str, str]:
    return {name: sentence for name, check in checks.items() if (sentence := check()) is not None}
