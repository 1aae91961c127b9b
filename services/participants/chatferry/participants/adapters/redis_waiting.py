"""Readers that wait for a read, on whichever replica it is made: told over Redis' pub/sub."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

import orjson
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from chatferry.common.errors import OutageError
from chatferry.participants.adapters.local import LocalWaiting
from chatferry.participants.adapters.redis_base import Keys, end, redis_outage
from chatferry.participants.domain.counts import ChatId

_TOLD_MS = 60_000
_PING_EVERY_S = 2.0
_AGAIN_S = 0.2
_LOOK_S = 0.25
"""Whoever looks waits anyway."""
# KEYS: for each read, when the last one that ended had been started. ARGV: channel, message, the starts.
_TELL = f"""
for i = 1, #KEYS do
  local last = tonumber(redis.call('GET', KEYS[i]) or '0')
  if tonumber(ARGV[2 + i]) > last then redis.call('SET', KEYS[i], ARGV[2 + i], 'PX', {_TOLD_MS}) end
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
"""


class RedisWaiting:
    """Port Waiting, between `async with`. Who waits, waits at `here`; what other replicas tell is told there too.

    Nothing is missed between two connections: after each subscription what was told last is looked up for all who wait.
    `look_s`: longest look for what was told, in which a reader waits.
    """

    def __init__(self, redis: Redis, keys: Keys, here: LocalWaiting, look_s: float = _LOOK_S) -> None:
        self._redis, self._keys, self._here, self._look_s = redis, keys, here, look_s
        self._channel = keys.own("told")
        self._tell = redis.register_script(_TELL)
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._listen(), name="waiting for reads")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        assert self._listening is not None
        await end(self._listening)

    async def wait(self, chats: Collection[ChatId], since_ms: int, seconds: float) -> set[ChatId]:
        deadline = asyncio.get_running_loop().time() + seconds
        # Listening begins before the look at what was told already, so that nothing falls between the two.
        with self._here.expecting(chats, since_ms) as waiter:
            await self.look_up(chats)
            return await waiter.until(deadline)

    async def tell(self, reads: Mapping[ChatId, int]) -> None:
        if not reads:
            return
        await self._here.tell(reads)
        message = orjson.dumps({str(chat): started for chat, started in reads.items()})
        async with redis_outage():
            await self._tell(keys=[self._key(chat) for chat in reads], args=[self._channel, message, *reads.values()])

    async def look_up(self, chats: Collection[ChatId]) -> None:
        """Tell those who wait here what was told last."""
        wanted = list(chats)
        if not wanted:
            return
        async with redis_outage(self._look_s):
            told = await self._redis.mget([self._key(chat) for chat in wanted])
        await self._here.tell({chat: int(one) for chat, one in zip(wanted, told, strict=True) if one is not None})

    def _key(self, chat: ChatId) -> str:
        return self._keys.own(f"told:{chat}")

    async def _listen(self) -> None:
        while True:
            pubsub = self._redis.pubsub()
            try:
                async with redis_outage():
                    await pubsub.subscribe(self._channel)
                await self._hear(pubsub)
            except OutageError:
                await asyncio.sleep(_AGAIN_S)
            finally:
                with suppress(OutageError):
                    async with redis_outage():
                        await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _hear(self, pubsub: PubSub) -> None:
        """Until the connection is lost; one that has gone silently does not answer a ping."""
        pinged = False
        while True:
            async with redis_outage(_PING_EVERY_S * 2):
                message = await pubsub.get_message(timeout=_PING_EVERY_S)
                if message is None:
                    if pinged:
                        raise OSError("the subscription does not answer")
                    await pubsub.ping()
            pinged = message is None
            if message is not None and message["type"] == "subscribe":
                await self.look_up(self._here.waited_for)
            if message is not None and message["type"] == "message":
                reads = orjson.loads(message["data"])
                await self._here.tell({ChatId(int(chat)): started_ms for chat, started_ms in reads.items()})
