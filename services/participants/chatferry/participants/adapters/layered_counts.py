"""The counts on Redis, and in this process while Redis is away."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Self

from chatferry.common.errors import OutageError
from chatferry.participants.adapters.local import LocalCounts
from chatferry.participants.adapters.redis_base import end
from chatferry.participants.adapters.redis_counts import RedisCounts
from chatferry.participants.adapters.redis_layers import ATTEMPT_EVERY_S, Switch
from chatferry.participants.domain.counts import ChatId, Count
from chatferry.participants.domain.updates import Update

_BATCH, _SAMPLE = 200, 50


class LayeredCounts:
    """Port Counts, between `async with`: what is known here is written back when Redis returns, with its own stamps, so
    that MAX need not be asked for all of it anew."""

    def __init__(self, redis: RedisCounts, local: LocalCounts, switch: Switch) -> None:
        self._redis, self._local, self._switch = redis, local, switch
        self._restoring: asyncio.Task[None] | None = None
        self._unwritten: set[ChatId] = set()
        self._unforgotten: set[ChatId] = set()
        # Of each chat that was: the number of that. What was asked for before is of the chat of MAX that it was then.
        self._forgotten: dict[ChatId, int] = {}
        self._forgets = 0

    async def __aenter__(self) -> Self:
        self._restoring = asyncio.create_task(self._restore(), name="counts for Redis")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        assert self._restoring is not None
        await end(self._restoring)

    @property
    def shared(self) -> bool:
        """Whether Redis is there, and has what was written here while it was not: else counts are this process' own."""
        return not self._switch.away and not self._switch.back.is_set()

    async def load(self, chats: Sequence[ChatId]) -> dict[ChatId, Count]:
        began, shared, hidden = self._forgets, False, set[ChatId]()

        async def there() -> dict[ChatId, Count]:
            # Before Redis is asked: until its answer is heard it may fall, and all may have been written back.
            nonlocal shared, hidden
            shared, hidden = self.shared, set(self._unforgotten)
            return await self._redis.load(chats)

        try:
            found = await self._switch.attempt(there)
        except OutageError:
            return await self._local.load(chats)
        hidden |= {chat for chat in found if self._forgotten_since(chat, began)}
        found = {chat: count for chat, count in found.items() if chat not in hidden}
        if not (shared and self.shared):
            # What events have told here meanwhile is not written back yet.
            here = await self._local.load(chats)
            found |= {chat: one for chat, one in here.items() if chat not in found or found[chat].order <= one.order}
        self._local.learn(found)
        return found

    async def write(self, chat: ChatId, count: Count) -> bool:
        began = self._forgets
        try:
            written = await self._switch.attempt(lambda: self._redis.write(chat, count))
        except OutageError:
            return not self._forgotten_since(chat, began) and await self._write_here(chat, count)
        if written and not self._forgotten_since(chat, began):
            self._unforgotten.discard(chat)
            self._local.learn({chat: count})
        return written

    async def _write_here(self, chat: ChatId, count: Count) -> bool:
        self._unwritten.add(chat)
        return await self._local.write(chat, count)

    async def hint(self, chat: ChatId, known: Count, update: Update) -> Count | None:
        if self._local.heard(chat, update):
            return None
        began = self._forgets
        try:
            moved = await self._switch.attempt(lambda: self._hint_there(chat, known, update))
        except OutageError:
            return None if self._forgotten_since(chat, began) else await self._hint_here(chat, known, update)
        if moved is not None:
            self._local.hear(chat, update)
            if not self._forgotten_since(chat, began):
                self._local.learn({chat: moved})
        return moved

    async def _hint_there(self, chat: ChatId, known: Count, update: Update) -> Count | None:
        """After what Redis has not heard of yet: that the chat is another one of MAX's, and what events have told."""
        if chat in self._unforgotten:
            await self._redis.forget([chat])
            self._unforgotten.discard(chat)
        if not self.shared:
            await self._redis.restore(list((await self._local.load([chat])).items()))
        return await self._redis.hint(chat, known, update)

    async def _hint_here(self, chat: ChatId, known: Count, update: Update) -> Count | None:
        self._unwritten.add(chat)
        return await self._local.hint(chat, known, update)

    async def forget(self, chats: Collection[ChatId]) -> None:
        if not chats:
            return
        self._forgets += 1
        self._forgotten |= dict.fromkeys(chats, self._forgets)
        await self._local.forget(chats)
        self._unwritten.difference_update(chats)
        try:
            await self._switch.attempt(lambda: self._redis.forget(chats))
        except OutageError:
            self._unforgotten.update(chats)

    def _forgotten_since(self, chat: ChatId, forgets: int) -> bool:
        return self._forgotten.get(chat, 0) > forgets

    async def _restore(self) -> None:
        while True:
            await self._switch.back.wait()
            try:
                await self._write_back()
            except OutageError:
                await self._switch.clock.sleep(ATTEMPT_EVERY_S)
                continue
            if not self._unwritten and not self._unforgotten:
                self._switch.back.clear()

    async def _write_back(self) -> None:
        """All of it to a Redis that has forgotten some, else what was written meanwhile: it may have been away for a
        moment only. What is written here while this goes on stays to be written back."""
        unforgotten = frozenset(self._unforgotten)
        await self._redis.forget(unforgotten)
        self._unforgotten -= unforgotten
        unwritten, self._unwritten = self._unwritten, set()
        try:
            chats = await self._behind(unwritten)
            for begin in range(0, len(chats), _BATCH):
                # As it is known by now: a chat may be forgotten meanwhile.
                here = await self._local.load(chats[begin : begin + _BATCH])
                await self._redis.restore(list(here.items()))
        except BaseException:
            self._unwritten |= unwritten
            raise

    async def _behind(self, unwritten: Collection[ChatId]) -> list[ChatId]:
        """Chats that Redis does not have as they are known here."""
        known = self._local.known()
        sample = dict([one for one in known if one[0] not in unwritten][-_SAMPLE:])
        there = await self._redis.load(list(sample))
        if all(chat in there and there[chat].order >= count.order for chat, count in sample.items()):
            return list(unwritten)
        return [chat for chat, _ in known]
