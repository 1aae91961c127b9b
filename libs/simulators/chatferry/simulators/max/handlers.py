"""What the calls of the REST side answer, once they were let in."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from chatferry.simulators.max import paths, queries
from chatferry.simulators.max.errors import ApiError
from chatferry.simulators.max.model import BOT_ID, Chat, Kind
from chatferry.simulators.max.render import chat_json, member_json, spelled, with_nulls
from chatferry.simulators.max.users import me_json
from chatferry.simulators.max.world import World

Json = dict[str, Any]
PAGE_LIMIT = 100
POLL_LIMIT_S = 30


@dataclass(frozen=True, slots=True)
class Asked:
    verb: str
    chat_id: int | None
    query: Mapping[str, str]
    body: bytes


class Handlers:
    """Each raises ApiError for what it refuses."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_path: dict[str, dict[str, Callable[[Asked], Json]]] = {
            paths.ME: {"GET": lambda _asked: me_json(BOT_ID)},
            paths.CHATS: {"GET": self._chats},
            paths.CHAT: {"GET": self._chat},
            paths.MEMBERS: {"GET": self._members},
            paths.MEMBERSHIP: {"GET": self._membership},
            paths.ADMINS: {"GET": self._admins},
            paths.SUBSCRIPTIONS: {"GET": self._subscriptions, "POST": self._subscribe, "DELETE": self._unsubscribe},
        }

    async def answer(self, path: str, asked: Asked) -> Json:
        if path == paths.UPDATES:
            if asked.verb != "GET":
                raise ApiError("method.not.allowed")
            return await self._updates(asked)
        verbs = self._by_path.get(path)
        if verbs is None or (path == paths.CHATS and not self._world.live.now.api.list_chats):
            raise ApiError("not.found", "Unknown method")
        handler = verbs.get(asked.verb)
        if handler is None:
            raise ApiError("method.not.allowed")
        return handler(asked)

    def _chats(self, asked: Asked) -> Json:
        """Dialogs are not among them."""
        count = queries.number(asked.query, "count", 50, range(1, PAGE_LIMIT + 1))
        start = queries.marker(asked.query) or 0
        listed = sorted(
            (chat for chat in self._world.platform.chats.values() if chat.kind is not Kind.DIALOG),
            key=lambda chat: chat.id,
        )
        page = listed[max(0, start) : max(0, start) + count]
        nothing = self._world.live.now.api.nothing
        more = start + count < len(listed)
        rows = [chat_json(chat, nothing, listed=True) for chat in page]
        return {"chats": rows, **spelled({"marker": start + count if more else None}, nothing == "null")}

    def _chat(self, asked: Asked) -> Json:
        rules, chat = self._world.live.now.api, self._known(asked)
        if not chat.has_bot and rules.removed_reads != "status":
            raise ApiError("chat.denied" if rules.removed_reads == "denied" else "not.found")
        return chat_json(chat, rules.nothing)

    def _members(self, asked: Asked) -> Json:
        chat = self._administered(asked)
        wanted = queries.numbers(asked.query, "user_ids")
        if wanted is not None:
            return self._member_rows(chat, [user_id for user_id in wanted if user_id in chat.members], None)
        count = queries.number(asked.query, "count", 20, range(1, PAGE_LIMIT + 1))
        after = queries.marker(asked.query)
        later = (user for user, joined in chat.members.items() if after is None or joined > after)
        page = list(islice(later, count + 1))
        marker = chat.members[page[count - 1]] if len(page) > count else None
        return self._member_rows(chat, page[:count], marker)

    def _membership(self, asked: Asked) -> Json:
        chat = self._known(asked)
        if not chat.has_bot:
            raise ApiError("chat.denied", "Bot is not a member of the chat")
        return member_json(chat, BOT_ID, self._world.live.now.api.nothing)

    def _admins(self, asked: Asked) -> Json:
        chat = self._administered(asked)
        return self._member_rows(chat, [user for user in (BOT_ID, chat.owner_id) if user in chat.members], None)

    def _subscriptions(self, _asked: Asked) -> Json:
        return {"subscriptions": self._world.webhooks.rows()}

    def _subscribe(self, asked: Asked) -> Json:
        try:
            body = orjson.loads(asked.body)
        except ValueError:
            raise ApiError("proto.payload", "Invalid JSON") from None
        refused = self._world.webhooks.subscribe(body)
        return {"success": True} if refused is None else {"success": False, "message": refused}

    def _unsubscribe(self, asked: Asked) -> Json:
        url = asked.query.get("url")
        if not url:
            raise ApiError("proto.payload", "url: must not be null")
        gone = self._world.webhooks.unsubscribe(url)
        return {"success": True} if gone else {"success": False, "message": "subscription not found"}

    async def _updates(self, asked: Asked) -> Json:
        """Waits until there are some; with a webhook there never are."""
        limit = min(PAGE_LIMIT, queries.number(asked.query, "limit", PAGE_LIMIT, range(1, 1001)))
        timeout_s = min(POLL_LIMIT_S, queries.number(asked.query, "timeout", POLL_LIMIT_S, range(91)))
        types = queries.words(asked.query, "types")
        feed, loop = self._world.feed, asyncio.get_running_loop()
        start = feed.start(queries.marker(asked.query))
        ends = loop.time() + timeout_s
        while True:
            arrival = feed.arrival()
            page = feed.read(start, limit, types)
            if page.updates and not self._world.webhooks.active:
                return {"updates": page.updates, "marker": page.marker}
            if loop.time() >= ends:
                return {"updates": [], "marker": start}
            with suppress(TimeoutError):
                async with asyncio.timeout_at(ends):
                    await arrival.wait()

    def _known(self, asked: Asked) -> Chat:
        if asked.chat_id is None or asked.chat_id not in queries.INT64:
            raise ApiError("proto.payload", "chatId: must be an int64")
        chat = self._world.platform.chats.get(asked.chat_id)
        if chat is None:
            raise ApiError("not.found")
        return chat

    def _administered(self, asked: Asked) -> Chat:
        chat = self._known(asked)
        if chat.permissions is None:
            raise ApiError("chat.denied")
        return chat

    def _member_rows(self, chat: Chat, users: list[int], marker: int | None) -> Json:
        nothing = self._world.live.now.api.nothing
        rows = [member_json(chat, user_id, nothing) for user_id in users]
        return {"members": rows, **spelled({"marker": marker}, with_nulls(chat, nothing))}
