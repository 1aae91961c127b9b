"""Ports that end the process, before or after their n-th call: as a kill would, whatever it hits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, cast

from chatferry.extractor.steps.parts import Parts

_PORTS = ("portal", "runs", "families", "records", "roots", "inventory", "listings", "strangers", "broker")
_STORES = ("outbox", "unsent", "published", "letters", "dlq")


class Killed(BaseException):
    """The process is gone: nobody may catch this."""


@dataclass
class Countdown:
    """Dies at call number `at`; before it reaches the other side, or after."""

    at: int
    before: bool
    calls: int = 0
    dead: bool = False

    def enter(self) -> int:
        """A call begins; its number."""
        self.calls += 1
        self._perhaps(self.calls, before=True)
        return self.calls

    def leave(self, number: int) -> None:
        """That call has done its work; its caller may never know."""
        self._perhaps(number, before=False)

    def _perhaps(self, number: int, *, before: bool) -> None:
        self.dead = self.dead or (number == self.at and before == self.before)
        if self.dead:
            raise Killed


class _Dying:
    def __init__(self, inner: Any, countdown: Countdown) -> None:
        self._inner, self._countdown = inner, countdown

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name == "open_rows":
            return self._rows(method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            number = self._countdown.enter()
            result = await method(*args, **kwargs)
            self._countdown.leave(number)
            return result

        return call

    def _rows(self, method: Any) -> Any:
        async def rows(*args: Any) -> AsyncIterator[Any]:
            async for row in method(*args):
                number = self._countdown.enter()
                yield row
                self._countdown.leave(number)

        return rows


def dying(parts: Parts, countdown: Countdown) -> Parts:
    """The same parts, under a countdown."""
    replaced = {name: _Dying(getattr(parts, name), countdown) for name in _PORTS}
    stores = {name: _Dying(getattr(parts.publishing, name), countdown) for name in _STORES}
    return replace(parts, publishing=replace(parts.publishing, **cast("Any", stores)), **cast("Any", replaced))


def dying_at_pages(parts: Parts, countdown: Countdown) -> Parts:
    """The same parts; only what keeps pages is under the countdown, so that each call is one, on any machine."""
    return replace(parts, records=cast("Any", _Dying(parts.records, countdown)))
