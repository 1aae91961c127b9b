"""Which parts are away, as one consumer has found out: told to its health, and asked for until they are back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from chatferry.common.errors import OutageError
from chatferry.common.health import Health
from chatferry.common.telemetry.logs import get_logger

log = get_logger(__name__)


class Outages:
    """True while any part is away. `changed` is called whenever one went or came back."""

    def __init__(self, health: Health, changed: Callable[[], None]) -> None:
        self._health, self._changed = health, changed
        self._away: dict[str, OutageError] = {}

    def __bool__(self) -> bool:
        return bool(self._away)

    def __contains__(self, part: str) -> bool:
        return part in self._away

    def went_away(self, away: OutageError) -> None:
        """Repeating it tells the newest sentence."""
        if away.part not in self._away:
            log.warning("outage", part=away.part)
        self._away[away.part] = away
        self._health.outage(away.part, away.sentence)
        self._changed()

    async def probe(self, ask: Callable[[OutageError], Awaitable[None]]) -> None:
        """Raises the outage of a part that is still away, after every part that was away has been asked."""
        still: OutageError | None = None
        for away in list(self._away.values()):
            try:
                await ask(away)
            except OutageError as again:
                self.went_away(again)
                still = again
            else:
                self._came_back(away)
        if still is not None:
            raise still

    def _came_back(self, away: OutageError) -> None:
        log.info("outage.over", part=away.part)
        del self._away[away.part]
        self._health.outage(away.part, None)
        self._changed()
