"""Updates as the platform words them: one body each, whichever way it goes."""

from random import Random
from typing import Any

from chatferry.simulators.clock import Clock
from chatferry.simulators.max.model import BOT_ID, Chat, Kind
from chatferry.simulators.max.render import spelled, with_nulls
from chatferry.simulators.max.settings import Live
from chatferry.simulators.max.users import bot_json, user_json

Update = dict[str, Any]


class Wording:
    """`now_ms` of the clock is the timestamp; oddities are drawn from the seed."""

    def __init__(self, live: Live, clock: Clock, random: Random) -> None:
        self.live = live
        self._clock = clock
        self._random = random
        self._messages = 0

    def now_ms(self) -> int:
        return int(self._clock() * 1000)

    def user_added(self, chat: Chat, user_id: int, inviter_id: int | None) -> Update:
        return self._moved("user_added", chat, user_id, {"inviter_id": inviter_id})

    def user_removed(self, chat: Chat, user_id: int, admin_id: int | None) -> Update:
        return self._moved("user_removed", chat, user_id, {"admin_id": admin_id})

    def bot_came_or_went(self, update_type: str, chat: Chat) -> Update:
        """`bot_added` or `bot_removed`, by the owner."""
        return self._worded(update_type, chat, {"user": user_json(chat.owner_id), "is_channel": _is_channel(chat)})

    def title_changed(self, chat: Chat) -> Update:
        return self._worded("chat_title_changed", chat, {"user": user_json(chat.owner_id), "title": chat.title})

    def permissions_changed(self, chat: Chat) -> Update:
        admin = chat.permissions is not None
        rights = {"permissions": list(chat.permissions) if chat.permissions is not None else None}
        fields = {"user_id": chat.owner_id, "bot_id": BOT_ID, "is_channel": _is_channel(chat), "is_admin": admin}
        return self._worded("bot_admin_permissions_changed", chat, fields | spelled(rights, self._nulls(chat)))

    def dialog(self, update_type: str, chat: Chat) -> Update:
        """`bot_started` or `bot_stopped`."""
        payload = {"payload": "ref_42"} if update_type == "bot_started" else {}
        return self._worded(update_type, chat, {"user": user_json(chat.owner_id), **payload, "user_locale": "ru"})

    def message(self, chat: Chat, author_id: int) -> Update:
        self._messages += 1
        number = self._messages
        sender = bot_json(BOT_ID) if author_id == BOT_ID else user_json(author_id)
        message = {
            "sender": sender,
            "recipient": {"chat_id": chat.id, "chat_type": chat.kind.value},
            "timestamp": self.now_ms(),
            "body": {"mid": f"mid.{number:032x}", "seq": number, "text": "Сообщение", "attachments": []},
        }
        worded = self._worded("message_created", chat, {"message": message, "user_locale": "ru"})
        del worded["chat_id"]
        return worded

    def unknown_type(self, chat: Chat) -> Update:
        return self._worded("chat_weather_changed", chat, {"weather": {"rain": True}})

    def _moved(self, update_type: str, chat: Chat, user_id: int, actor: dict[str, int | None]) -> Update:
        user = user_json(user_id, bot=user_id in chat.bots)
        fields: Update = {"user": user, **spelled(dict(actor), self._nulls(chat)), "is_channel": _is_channel(chat)}
        if self._random.random() < self.live.now.delivery.extra_user_id:
            fields["user_id"] = user_id + 1
        return self._worded(update_type, chat, fields)

    def _nulls(self, chat: Chat) -> bool:
        return with_nulls(chat, self.live.now.api.nothing)

    def _worded(self, update_type: str, chat: Chat, fields: Update) -> Update:
        odd: Update = {}
        if self._random.random() < self.live.now.delivery.unknown_fields:
            odd = {"trace": {"id": "0af7", "hops": [1, 2]}, "revision": 3}
        return {"timestamp": self.now_ms(), "chat_id": chat.id, **fields, **odd, "update_type": update_type}


def _is_channel(chat: Chat) -> bool:
    return chat.kind is Kind.CHANNEL
