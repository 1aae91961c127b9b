"""What readers have met as too old is asked for behind their backs, and not for every one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice

from chatferry.common.clock import Clock
from chatferry.common.errors import OutageError
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import Wanted

_AGAIN_S = 60.0


class Wishes:
    """One replica's. At most `most` chats wait to be asked for, or were within the minute; further ones are left out:
    whoever meets them next wishes again.

    `per_second`: so many go on to the reads at most, among which whoever waits for a read would have to stand behind
    them, and whatever events have changed. `overdue`: which of them are too old still, when their turn has come: a
    long line takes minutes, and each that was read for another reason meanwhile would cost MAX a second call.
    """

    def __init__(
        self,
        wanted: Wanted,
        clock: Clock,
        per_second: float,
        overdue: Callable[[Sequence[ChatId]], Awaitable[list[ChatId]]],
        most: int = 20_000,
    ) -> None:
        self._wanted = wanted
        self._clock = clock
        self._per_second = per_second
        self._overdue = overdue
        self._most = most
        # In the order of their times: the oldest is the first.
        self._wished: dict[ChatId, float] = {}
        self._waiting: dict[ChatId, None] = {}
        self._asking: asyncio.Task[None] | None = None

    def wish(self, chats: Iterable[ChatId]) -> None:
        """Returns at once."""
        now = self._clock.monotonic()
        for chat in chats:
            self._forget(now)
            if chat in self._wished or len(self._wished) >= self._most:
                continue
            self._wished[chat] = now
            self._waiting[chat] = None
        if self._waiting and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask(), name="wishes")

    def _forget(self, now: float) -> None:
        while self._wished:
            chat, at = next(iter(self._wished.items()))
            if now - at < _AGAIN_S:
                return
            del self._wished[chat]

    async def _ask(self) -> None:
        while self._waiting:
            some = list(islice(self._waiting, max(1, int(self._per_second))))
            for chat in some:
                del self._waiting[chat]
            some = await self._overdue(some)
            if not some:
                continue
            # Nobody was promised anything: a reader who comes after the minute wishes again.
            with suppress(OutageError):
                await self._wanted.ask(some, Urgency.ASKED)
            await self._clock.sleep(len(some) / self._per_second)
