"""Health that tells the truth: what is wrong, by name, from what the process last saw itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

Check = Callable[[], str | None]


@dataclass(slots=True)
class Health:
    """`alive` checks say whether the process should be restarted, `ready` ones whether it can do its work now.

    A check returns None when all is well, else a sentence. Outages are set and cleared by whoever meets them.
    """

    _alive: dict[str, Check] = field(default_factory=dict)
    _ready: dict[str, Check] = field(default_factory=dict)
    _outages: dict[str, str] = field(default_factory=dict)
    _borne: frozenset[str] = frozenset()
    _lock: Lock = field(default_factory=Lock)

    def alive_when(self, name: str, check: Check) -> None:
        """Add a check of the process itself (a dead consume loop, say)."""
        self._alive[name] = check

    def ready_when(self, name: str, check: Check) -> None:
        """Add a check of what the process needs to work."""
        self._ready[name] = check

    def outage(self, part: str, sentence: str | None) -> None:
        """A part went away (a sentence), or came back (None)."""
        with self._lock:
            if sentence is None:
                self._outages.pop(part, None)
            else:
                self._outages[part] = sentence

    @property
    def outages(self) -> dict[str, str]:
        """Parts that are away now, and what was seen."""
        with self._lock:
            return dict(self._outages)

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
        return {**_failed(self._alive), **_failed(self._ready), **self.outages}


def _failed(checks: dict[str, Check]) -> dict[str, str]:
    return {name: sentence for name, check in checks.items() if (sentence := check()) is not None}
