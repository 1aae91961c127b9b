"""Links that the configuration names are made once their chats are known, where nobody has made another."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress

from chatferry.common.clock import Clock
from chatferry.common.errors import OutageError
from chatferry.common.telemetry.logs import get_logger
from chatferry.participants.domain.counts import ChatId, MaxChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.flow.parts import Parts
from chatferry.participants.ports import Counts, MaxChatTakenError, MaxSide, Wanted

log = get_logger(__name__)
_AGAIN_S = 5.0


async def keep_linked(links: Mapping[ChatId, MaxChatId], parts: Parts, clock: Clock, stopping: asyncio.Event) -> None:
    """Begun when all chats are in view; returns when all are made, or `stopping` is set.

    One that a call has made since stays, of the chat as of the MAX chat: the file is older. A chat below 0 is MAX's
    own, and made known.
    """
    left = dict(links)
    while left and not stopping.is_set():
        for chat, max_chat in list(left.items()):
            entry = parts.chats.entry(chat)
            if entry is None and chat > 0:
                continue
            if (entry is not None and entry.max_chat is not None) or await _made(chat, max_chat, parts):
                del left[chat]
        if left:
            await clock.sleep(_AGAIN_S)


async def _made(chat: ChatId, max_chat: MaxChatId, parts: Parts) -> bool:
    if chat < 0:
        return await make_known(max_chat, parts.catalogue, parts.wanted) is not None
    try:
        changed = await parts.catalogue.link(chat, max_chat, unless_linked=True)
    except MaxChatTakenError:
        log.warning("link.passed_over", chat=chat)
        return True
    if changed is None:
        return False
    await begin_anew(changed, parts.counts, parts.wanted)
    return True


async def make_known(max_chat: MaxChatId, catalogue: MaxSide, wanted: Wanted) -> ChatId | None:
    """A chat of MAX that no event has named: its id here, and it is read soon; None: a dialog. Safe to repeat."""
    entry = await catalogue.arrived(max_chat, None)
    if entry is None:
        return None
    with suppress(OutageError):
        await wanted.ask([entry.id], Urgency.CHANGED)
    return entry.id


async def begin_anew(chats: Collection[ChatId], counts: Counts, wanted: Wanted) -> None:
    """After a link: what is cached is of the chats of MAX that these were before.

    CHANGED: its wait outlasts the time that views need to see the link, and a read that is under way does not end it.
    """
    with suppress(OutageError):
        await counts.forget(chats)
    with suppress(OutageError):
        await wanted.ask(chats, Urgency.CHANGED)
