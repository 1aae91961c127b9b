"""A crash or an outage that can be put before or after any write."""

from __future__ import annotations

from dataclasses import dataclass, field

from chatferry.common.errors import OutageError


class CrashError(Exception):
    """The process died here."""


@dataclass
class Faults:
    """Counts writes; dies at the chosen one, `after` it or before it, and stays dead until revived.

    `outage`: the part behind that write is away instead, once, and the process lives on.
    """

    crash_at: int | None = None
    after: bool = False
    outage: bool = False
    seen: list[str] = field(default_factory=list)
    dead: bool = False

    def before(self, what: str) -> None:
        if self.dead:
            raise CrashError
        self.seen.append(what)
        if not self.after and len(self.seen) - 1 == self.crash_at:
            self._strike()

    def done(self) -> None:
        if self.dead:
            raise CrashError
        if self.after and len(self.seen) - 1 == self.crash_at:
            self.crash_at = None
            self._strike()

    def _strike(self) -> None:
        if self.outage:
            raise OutageError("mongodb", "away")
        self.dead = True
        raise CrashError
