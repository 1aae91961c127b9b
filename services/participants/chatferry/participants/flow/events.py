"""What is heard: MAX's events move counts for the moment, and say which chats to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chatferry.common.clock import Clock
from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import Count, MaxChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.domain.updates import MOVING, Effect, Update
from chatferry.participants.flow.parts import Parts, learn
from chatferry.participants.ports import Told

# Each is a write, and a change that every replica takes in: of lively chats there would be one for every message.
_ACTIVITY_EVERY_MS = 60_000


@dataclass(slots=True)
class Listener:
    """Applies updates in the order in which they came; applying one again changes nothing."""

    parts: Parts
    clock: Clock
    _known: dict[MaxChatId, Entry] = field(default_factory=dict)

    async def apply(self, updates: Sequence[Update]) -> None:
        """Raises OutageError: then apply the same updates again."""
        wanted = [one for one in updates if one.effect is not Effect.NOTHING and one.chat is not None]
        self._known = await self._side_of_ours({one.chat for one in wanted if one.chat is not None})
        try:
            for update in wanted:
                assert update.chat is not None
                await self._apply(update, update.chat)
        finally:
            self._known = {}

    async def _side_of_ours(self, chats: set[MaxChatId]) -> dict[MaxChatId, Entry]:
        return await self.parts.linked.by_max_chat(chats) if chats else {}

    async def _apply(self, update: Update, max_chat: MaxChatId) -> None:
        entry, noted = self._known.get(max_chat), None
        while noted is None:
            # Whatever is heard of a chat, the bot is in it; or was, when it has just been put out of one unknown.
            entry = entry or await self.parts.catalogue.arrived(max_chat, update.title)
            if entry is None:
                return
            # None: another chat has been linked to this one of MAX meanwhile, and it is said of that.
            noted, entry = await self._noted(entry, update), None
        self._known[max_chat] = noted
        if update.effect in (*MOVING, Effect.ARRIVES) or _trusted(update):
            await self.parts.wanted.ask([noted.id], Urgency.CHANGED)

    async def _noted(self, entry: Entry, update: Update) -> Entry | None:
        told = self._told(entry, update)
        if update.effect in MOVING:
            told = replace(told, count=await self._moved(entry, update))
        if told == Told(at_ms=told.at_ms, max_chat=told.max_chat):
            return entry
        before = self.parts.chats.entry(entry.id)
        noted = await self.parts.catalogue.note(entry.id, told)
        if noted is not None:
            learn(self.parts.chats, before, noted)
        return noted

    async def _moved(self, entry: Entry, update: Update) -> Count | None:
        count = await self.parts.counts.hint(entry.id, entry.count, update)
        if count is not None:
            self.parts.watch.heard(max(0.0, self.clock.now().timestamp() - update.at_ms / 1_000))
        return count

    def _told(self, entry: Entry, update: Update) -> Told:
        # Nothing happens later than now, whatever an event says.
        at_ms = min(update.at_ms, int(self.clock.now().timestamp() * 1_000))
        later = at_ms - (entry.activity_ms or 0) >= _ACTIVITY_EVERY_MS
        return Told(
            title=update.title if update.effect is Effect.RENAMED and entry.id < 0 else None,
            activity_ms=at_ms if later else None,
            trusted=_trusted(update),
            at_ms=at_ms,
            max_chat=entry.max_chat,
        )


def _trusted(update: Update) -> bool | None:
    if update.effect is Effect.RIGHTS:
        return update.trusted
    # Out, or in anew: in neither case is anything told until the bot is made an administrator (again).
    return False if update.effect in (Effect.LEAVES, Effect.ARRIVES) else None
