"""Links that the configuration names are made once their chats are known."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from chatferry.common.clock import Clock
from chatferry.participants.domain.counts import ChatId, MaxChatId
from chatferry.participants.ports import MaxSide

_AGAIN_S = 5.0


async def keep_linked(
    links: Mapping[ChatId, MaxChatId], catalogue: MaxSide, clock: Clock, stopping: asyncio.Event
) -> None:
    """Returns when all are made, or `stopping` is set. Making one again changes nothing."""
    left = dict(links)
    while left and not stopping.is_set():
        for chat, max_chat in list(left.items()):
            if await catalogue.link(chat, max_chat):
                del left[chat]
        if left:
            await clock.sleep(_AGAIN_S)
