"""What one replica does for all, the one that holds slot 0: staying subscribed, and announcing what has changed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from chatferry.common.clock import Clock
from chatferry.common.errors import OutageError
from chatferry.common.telemetry.logs import get_logger
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.domain.updates import Update
from chatferry.participants.flow.parts import Hearing, Parts, Trust
from chatferry.participants.ports import Inbox, MaxBusyError, MaxRefusedError

log = get_logger(__name__)
TYPES = (
    "bot_added",
    "bot_removed",
    "user_added",
    "user_removed",
    "bot_admin_permissions_changed",
    "chat_title_changed",
    "message_created",
)
_ANNOUNCED_AT_ONCE = 500
_ANNOUNCE_EVERY_S = 0.2
_OFF_DUTY_S = 1.0
_PASS_ON_EVERY_S = 5.0
_CLOCKS_APART_S = 5.0
# MAX takes two calls of this kind in a second.
_POLL_EVERY_S = 0.6
_LOOK_EVERY_S = 300.0
_TAKEN = (
    "MAX sends its events to a webhook, so polls bring none: end that subscription or set CHATFERRY_MAX_EVENTS=webhook"
)
_TRY_EVERY_S = 30.0
# Kept from when a subscription was found missing until all that follows is done, by whoever does it at last.
_BEING_MADE = ""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where MAX sends its events, and what they carry. MAX ends a subscription after 8 hours without a success.

    `check_every_s`: for how long nothing may come before a look whether it holds; `check_at_least_s`: from look to look
    while events come, which say that it does but not that it is for all that we asked for.
    """

    url: str
    secret: str
    check_every_s: float = 300.0
    check_at_least_s: float = 3_600.0

    @property
    def digest(self) -> str:
        """What may be kept of it: MAX does not say with which secret it sends."""
        return hashlib.sha256(f"{self.url}\n{self.secret}".encode()).hexdigest()


class Polled(Protocol):
    """Long polling of MAX."""

    async def webhooks(self) -> int:
        """How many subscriptions there are: while there is one, polls bring nothing."""

    async def updates(self, marker: int | None) -> tuple[Sequence[tuple[Update, bytes]], int | None]:
        """What has happened since the marker, waited for; asking with a marker gives up all before it."""


@dataclass(slots=True)
class _Duty:
    """`kept`: the marks' `subscribed`, when they could be read last. On the clock's monotonic seconds: `sure_until`: so
    long one failed look is no reason to doubt; `look_by`: so long events may stand for a look."""

    kept: str | None = None
    sure_until: float = float("-inf")
    look_by: float = float("-inf")


@dataclass(slots=True)
class _Polling:
    """`begun`: polled in it already. `look_at`: when to look for a webhook, on the clock's monotonic seconds."""

    begun: bool = False
    look_at: float = float("-inf")


@dataclass(slots=True)
class Keeper:
    """`on_duty`: whether slot 0 is held by this replica. `told`: why MAX sends no events, as far as we know; None: it
    does. `clock`: the one that reads are stamped by, which is the same for all replicas."""

    parts: Parts
    trust: Trust
    clock: Clock
    on_duty: Callable[[], bool]
    told: Callable[[str | None], None]
    hearing: Hearing = field(default_factory=Hearing)
    _passed_on_at: float = float("-inf")

    async def announce(self, stopping: asyncio.Event) -> None:
        """Tell the topic of every change, at least once, the newest of a chat last."""
        while not stopping.is_set():
            changes = await self.parts.outbox.unannounced(_ANNOUNCED_AT_ONCE) if self.on_duty() else []
            if changes:
                await self.parts.announcements.count_changed(changes)
                await self.parts.outbox.announced(changes)
            else:
                await self.clock.sleep(_ANNOUNCE_EVERY_S)

    async def remember(self, stopping: asyncio.Event) -> None:
        """Hear from the one on duty since when events can be trusted, and let it hear that they come."""
        while not stopping.is_set():
            if self.hearing.came and self.clock.monotonic() - self._passed_on_at >= _PASS_ON_EVERY_S:
                self.hearing.came, self._passed_on_at = False, self.clock.monotonic()
                await self.parts.memory.heard(self._now_ms())
            # It may have been found here meanwhile that some were lost since.
            self.trust.gap_ms = max((await self.parts.memory.marks()).gap_ms, self.trust.gap_ms)
            await self.clock.sleep(_OFF_DUTY_S)

    async def stay_subscribed(self, wanted: Subscription, stopping: asyncio.Event) -> None:
        """Look at once, and then whenever nothing has come for minutes; whatever was not told meanwhile makes all chats
        doubtful, and so does not knowing whether it was. Raises OutageError of what is not MAX."""
        duty: _Duty | None = None
        while not stopping.is_set():
            if self.on_duty():
                duty = duty or _Duty()
                await self.clock.sleep(await self._heard_for(wanted, duty) or await self._look(wanted, duty))
                continue
            duty = None
            self.told(None)
            await self.clock.sleep(_OFF_DUTY_S)

    async def _heard_for(self, wanted: Subscription, duty: _Duty) -> float:
        """For how long yet a look can be spared, because an event came since the last one; 0: not at all, as far as can
        be said."""
        now = self.clock.monotonic()
        if now >= duty.look_by:
            return 0.0
        try:
            silent_s = (self._now_ms() - (await self.parts.memory.marks()).heard_ms) / 1_000
        except OutageError:
            return 0.0
        if silent_s < -_CLOCKS_APART_S:
            # A clock was set back: how long it has been quiet is not known before that moment has come.
            return 0.0
        heard = now - max(0.0, silent_s)
        duty.sure_until = max(duty.sure_until, heard + 2 * wanted.check_every_s)
        return max(0.0, min(heard + wanted.check_every_s, duty.look_by) - now)

    async def _look(self, wanted: Subscription, duty: _Duty) -> float:
        """After how long to look again."""
        try:
            await self._subscribe(wanted, duty)
        except (OutageError, MaxBusyError, MaxRefusedError) as failure:
            if isinstance(failure, OutageError) and failure.part != "max":
                raise
            if isinstance(failure, MaxBusyError):
                await self.parts.budget.refused(failure.retry_after_s)
            sentence = _sentence(failure)
            log.warning("subscription.failed", kind=type(failure).__name__, sentence=sentence)
            self.told(sentence)
            duty.look_by = float("-inf")
            if self.clock.monotonic() >= duty.sure_until:
                await self._begin_anew()
            return min(_TRY_EVERY_S, wanted.check_every_s)
        self.told(None)
        now = self.clock.monotonic()
        duty.sure_until, duty.look_by = now + 2 * wanted.check_every_s, now + wanted.check_at_least_s
        return wanted.check_every_s

    async def _subscribe(self, wanted: Subscription, duty: _Duty) -> None:
        try:
            duty.kept = (await self.parts.memory.marks()).subscribed
        except OutageError:
            if duty.kept != wanted.digest:
                raise
        await self._leave("subscription")
        if not await self.parts.max.subscribed(wanted.url, TYPES):
            duty.sure_until, duty.kept = float("-inf"), _BEING_MADE
            await self._begin_anew(subscribed=_BEING_MADE)
        if duty.kept == wanted.digest:
            return
        await self._leave("subscription")
        await self.parts.max.subscribe(wanted.url, wanted.secret, TYPES)
        if duty.kept == _BEING_MADE:
            await self._begin_anew(subscribed=wanted.digest)
        else:
            await self.parts.memory.keep(replace(await self.parts.memory.marks(), subscribed=wanted.digest))
        duty.kept = wanted.digest
        log.info("subscription.made")

    async def poll(self, polled: Polled, inbox: Inbox, stopping: asyncio.Event) -> None:
        """Events for development, without a webhook. What Kafka has not taken is asked for again."""
        duty: _Polling | None = None
        while not stopping.is_set():
            if not self.on_duty():
                duty = None
                self.told(None)
                await self.clock.sleep(_OFF_DUTY_S)
                continue
            duty = duty or _Polling()
            try:
                if self.clock.monotonic() >= duty.look_at:
                    if await self._kept_from_us(polled):
                        duty.begun = False
                        await self.clock.sleep(_TRY_EVERY_S)
                        continue
                    duty.look_at = self.clock.monotonic() + _LOOK_EVERY_S
                await self._poll_once(polled, inbox, duty)
            except (OutageError, MaxBusyError, MaxRefusedError) as failure:
                if isinstance(failure, OutageError) and failure.part != "max":
                    raise
                if isinstance(failure, MaxBusyError):
                    await self.parts.budget.refused(failure.retry_after_s)
                log.warning("polling.failed", kind=type(failure).__name__)
                await self.clock.sleep(_OFF_DUTY_S)

    async def _kept_from_us(self, polled: Polled) -> bool:
        """Whether a webhook takes the events: then a poll brings none, and no count can be trusted to them.

        Nor is there a place then from which polls could go on: whoever makes the first one afterwards, the webhook gone
        and this process perhaps too, begins anew.
        """
        await self._leave("subscription")
        there = await polled.webhooks()
        self.told(_TAKEN if there else None)
        if there:
            await self._begin_anew()
            await self.parts.memory.keep(replace(await self.parts.memory.marks(), polled=None))
        return there > 0

    async def _poll_once(self, polled: Polled, inbox: Inbox, duty: _Polling) -> None:
        marks = await self.parts.memory.marks()
        if not duty.begun and marks.polled is None:
            await self._begin_anew()
        duty.begun = True
        await self._leave("updates")
        next_s = self.clock.monotonic() + _POLL_EVERY_S
        updates, marker = await polled.updates(marks.polled)
        await asyncio.gather(*(inbox.put(update, body) for update, body in updates))
        if marker is not None:
            await self.parts.memory.keep(replace(await self.parts.memory.marks(), polled=marker))
        await self.clock.sleep(max(0.0, next_s - self.clock.monotonic()))

    async def _begin_anew(self, subscribed: str | None = None) -> None:
        """`subscribed`: what is kept of the subscription from now on, when that is another."""
        now_ms = self._now_ms()
        self.trust.gap_ms = now_ms
        marks = await self.parts.memory.marks()
        subscribed = marks.subscribed if subscribed is None else subscribed
        await self.parts.memory.keep(replace(marks, gap_ms=now_ms, subscribed=subscribed))

    def _now_ms(self) -> int:
        return int(self.clock.now().timestamp() * 1_000)

    async def _leave(self, kind: str) -> None:
        """For one call of this kind, which is made at once."""
        while (grant := await self.parts.budget.take(Urgency.CHANGED)).wait_s > 0 or (
            self.clock.monotonic() > grant.until
        ):
            await self.clock.sleep(grant.wait_s)
        self.parts.watch.called(kind)


def _sentence(failure: OutageError | MaxBusyError | MaxRefusedError) -> str:
    if isinstance(failure, OutageError):
        return failure.sentence
    if isinstance(failure, MaxBusyError):
        return "MAX answers that we ask too often; we subscribe later"
    return "MAX refuses the bot's token: give a valid one in CHATFERRY_MAX_TOKEN"
