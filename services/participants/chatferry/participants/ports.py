"""What the story needs of the outside. Every method raises OutageError ("redis", "mongodb", "kafka", "max") while its
part cannot serve; what it had begun may be done or not, and is safe to repeat."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Literal, Protocol

from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import Answer, ChatId, Count, MaxChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.domain.updates import Update


class Counts(Protocol):
    """The cache that all replicas share: `chat_participants:{chat_id}`."""

    async def load(self, chats: Sequence[ChatId]) -> dict[ChatId, Count]:
        """What is known, however old: a count whose time in the cache is over comes with its own stamp, so that
        `state_of` says stale. One that was taken out of the cache before its time is not known."""

    async def write(self, chat: ChatId, count: Count) -> bool:
        """Keep what a read brought, unless a read that was started later is there already: then False."""

    async def hint(self, chat: ChatId, known: Count, update: Update) -> Count | None:
        """Move a count by an event (±1, or frozen when the bot was put out), once: the same event again, or one older
        than the read behind the count, is None (`hinted`, `frozen`). `known` stands in where the cache has none.
        """

    async def forget(self, chats: Collection[ChatId]) -> None:
        """Nothing is known of these any more, nor how it came about: they are other chats of MAX now."""


class Budget(Protocol):
    """The calls to MAX that all replicas may make together."""

    async def take(self, urgency: Urgency) -> Grant:
        """Leave for one call, now or after `wait_s` (then ask again). What is not ASKED leaves a reserve to what is."""

    async def refused(self, retry_after_s: float | None) -> None:
        """MAX answered 429: everybody waits, and goes on more slowly."""


@dataclass(frozen=True, slots=True)
class Grant:
    """`now_ms`: Redis' clock. `wait_s`: 0 when the call may be made, at once: not later than `until` on the clock's
    monotonic seconds, or calls would bunch; one that comes later is dropped, and leave is taken again."""

    now_ms: int
    wait_s: float
    until: float = math.inf


class Slots(Protocol):
    """Which replica does which share of the work, under leases with growing epochs."""

    async def keep(self) -> Held:
        """Renew what is held, take what is free or one's due, give back what is too much; every two seconds or so.

        A slot that is newly taken has an epoch that it never had before, also after Redis has lost everything: at least
        Redis' clock in milliseconds. A read is begun only while its slot is held for longer than a read may take.
        """

    async def leave(self) -> None:
        """Give everything back."""


@dataclass(frozen=True, slots=True)
class Held:
    """`slots`: slot -> epoch. `taken`: those that were not held before: `Wanted.take_over` comes before their first
    claim. `until`: on the clock's monotonic seconds; a read that would begin later than that is not begun, for its slot
    might be another's before it ends."""

    slots: Mapping[int, int]
    taken: frozenset[int] = frozenset()
    until: float = math.inf


@dataclass(frozen=True, slots=True)
class Claim:
    """A chat that this replica, and nobody else, reads now. `epoch`: of its slot. `waited_s`: for how long it has been
    due; 0 for a planned one."""

    chat: ChatId
    urgency: Urgency
    epoch: int
    waited_s: float = field(default=0.0, compare=False)


PATIENCE_S = 10.0
NEW_ENOUGH_S = 1.0
"""So much earlier than a reader came, a read may have been started that is new enough for it."""
NONE_AGAIN: Mapping[ChatId, float] = MappingProxyType({})


class Of(Enum):
    """Which of the chats that somebody wants read: `OTHERS` are those that are not ASKED for."""

    ALL = "all"
    ASKED = "asked"
    OTHERS = "others"


class Wanted(Protocol):
    """Chats that somebody wants read, by slot; and those that are being read."""

    async def ask(self, chats: Collection[ChatId], urgency: Urgency) -> None:
        """ASKED: at once, and over with the next read, also one that is under way and new enough. CHANGED: after the
        debounce that began with the first of several, and not over with a read that was under way already."""

    async def claim(
        self, held: Mapping[int, int], planned: Mapping[ChatId, Urgency], most: int, *, of: Of = Of.ALL
    ) -> list[Claim]:
        """Take the most urgent of the held slots, then of the planned ones in their order, that are not being read by
        anybody. Nothing of a slot that is another's by now, or soon may be."""

    async def finish(
        self, claims: Collection[Claim], again: Mapping[ChatId, float] = NONE_AGAIN, took_s: float = 0.0
    ) -> None:
        """These are read no more. `again`: of them, those whose read brought nothing and is wanted still, and after how
        many seconds at the earliest (a planned one is left to the plan). After more than `PATIENCE_S` nobody waits any
        more, and it is ASKED for no longer. `took_s`: for how long they were read; who has asked more than
        `NEW_ENOUGH_S` after the start has the chat read once more."""

    async def take_over(self, held: Mapping[int, int]) -> None:
        """Slots that were another's, with our epochs: what that one was reading is wanted again."""


class Waiting(Protocol):
    """Readers that wait for a read, on whichever replica it is made."""

    async def wait(self, chats: Collection[ChatId], since_ms: int, seconds: float) -> set[ChatId]:
        """Those of which a read ended within the time that was started at `since_ms` or later."""

    async def tell(self, reads: Mapping[ChatId, int]) -> None:
        """Reads have ended: chat -> when it was started."""


Why = Literal["event", "audit", "other"]
"""Of a read: an event had said that the chat changes; it was planned, of a chat of which every change should have been
told; neither."""


@dataclass(frozen=True, slots=True)
class Membership:
    """The bot's own. `trusted`: administrator with the right to read all messages."""

    trusted: bool


Ready = Callable[[], Awaitable[None]]
"""Awaited when the way to MAX is open, right before a call is sent: whether the leave for it still holds shows only
then. What it raises ends the call, which has not been made."""


async def at_once() -> None:
    """A call that nothing has to be asked for."""


class Max(Protocol):
    """The MAX messenger. MaxRefusedError: it refuses our token, so nothing can be read until a person acts."""

    async def chat(self, chat: MaxChatId, ready: Ready = at_once) -> Answer:
        """One read of a chat. OutageError("max") carries `retry_after_s` after a 429 that names it."""

    async def membership(self, chat: MaxChatId, ready: Ready = at_once) -> Membership | None:
        """The bot's rights in a chat; None when MAX does not say."""

    async def subscribed(self, url: str, types: Collection[str]) -> bool:
        """Whether events of all these types are sent there."""

    async def subscribe(self, url: str, secret: str, types: Sequence[str]) -> None:
        """From now on they are. Repeating it is safe."""


class MaxRefusedError(Exception):
    """401, or 403 with `verify.token`."""


class LateLeaveError(Exception):
    """Leave had gone by when the call was to be sent, and there was no other within the call's time."""


class MaxBusyError(Exception):
    """429: the budget is to be lowered. `retry_after_s` when MAX told it."""

    def __init__(self, retry_after_s: float | None) -> None:
        super().__init__("MAX answered 429")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class SourceChat:
    """A chat as the portal's records have it. `version`: an older one never takes the place of a newer."""

    id: ChatId
    version: int
    title: str | None
    created_ms: int | None
    static_count: int


class Catalogue(Protocol):
    """The chats, kept in MongoDB: what is served when the cache is away or has started anew."""

    async def changed(self, since: int, most: int) -> tuple[Sequence[Entry], int]:
        """Chats in the order of their last change after `since` (0: all), and where to go on from.

        A removed one (see `link`) has no title, no MAX chat and a static count of 0 under its own negative id.
        """

    async def by_max_chat(self, chats: Collection[MaxChatId]) -> dict[MaxChatId, Entry]:
        """Those that are linked."""

    async def note_sources(self, chats: Collection[SourceChat]) -> None:
        """What the portal's records say."""

    async def note_activity(self, newest_ms: Mapping[ChatId, int]) -> None:
        """A chat's newest message; an older one than known changes nothing. Chats that are not known yet are kept."""


class MaxSide(Protocol):
    """The catalogue's other half: what MAX says of chats."""

    async def arrived(self, max_chat: MaxChatId, title: str | None) -> Entry | None:
        """The bot is in this chat: its entry, made when there is none. None: a dialog, which is not counted."""

    async def note(self, chat: ChatId, told: Told) -> Entry | None:
        """What a read or an event said; None leaves a field as it is. An older count never replaces a newer one.
        The chat as it is then; None: it is not that of MAX any more which this was said of, and nothing is noted."""

    async def link(
        self, chat: ChatId, max_chat: MaxChatId | None, *, unless_linked: bool = False
    ) -> Collection[ChatId] | None:
        """Say which MAX chat a portal's chat is; None: none any more; `unless_linked`: leave it where it is another.
        Takes over what was known of the MAX chat, whose own entry ends; that of the one before comes back, if MAX has
        named it or told its count. The chats whose counts may be another's since (said again to whoever asks again);
        None: no such chat. Raises MaxChatTakenError."""


class MaxChatTakenError(Exception):
    """Another chat of the portal is linked to this chat of MAX."""


@dataclass(frozen=True, slots=True)
class Told:
    """Of one chat; None: nothing was said. `at_ms`: when title and trust were so: what comes late takes nothing back.
    None: they are so now. `max_chat`: of which chat of MAX; None: of whichever it is."""

    count: Count | None = None
    title: str | None = None
    activity_ms: int | None = None
    trusted: bool | None = None
    at_ms: int | None = None
    max_chat: MaxChatId | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A count that differs from the one announced last. `seq`: of the chat's change. No count: an entry of MAX's that
    has ended, or begins anew."""

    chat: ChatId
    count: Count | None
    seq: int


class Outbox(Protocol):
    """Counts that nobody was told of yet; they outlive a crash."""

    async def unannounced(self, most: int) -> Sequence[Change]:
        """The oldest first."""

    async def announced(self, changes: Sequence[Change]) -> None:
        """They need not be told again; one that has changed meanwhile has to be, also when somebody else has told of
        that change before this older one was."""


class Announcements(Protocol):
    """The topic `participants`."""

    async def count_changed(self, changes: Sequence[Change]) -> None:
        """Returns when Kafka has them. What has no count any more leaves the topic: a tombstone."""


class Inbox(Protocol):
    """The topic `max.updates`."""

    async def put(self, update: Update, body: bytes) -> None:
        """Returns when Kafka has it, as it came."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What must outlive a restart. `gap_ms`: events before it may have been lost, for we were not subscribed: a chat
    that was read last before it is not to be trusted. `polled`: the marker of long polling. `heard_ms`: when the newest
    event came by the webhook, give or take seconds. `subscribed`: a digest of the address and the secret that MAX was
    told last; empty: nobody knows whether it was, for whoever was about to may have been killed."""

    gap_ms: int = 0
    polled: int | None = None
    heard_ms: int = 0
    subscribed: str | None = None


class Memory(Protocol):
    """Where the marks are kept."""

    async def marks(self) -> Marks:
        """As they were kept last."""

    async def keep(self, marks: Marks) -> None:
        """Replace all but `heard_ms`. A gap that is older than the one that is kept changes nothing."""

    async def heard(self, at_ms: int) -> None:
        """An event came then, to whichever replica; an older moment than the one that is kept changes nothing."""
