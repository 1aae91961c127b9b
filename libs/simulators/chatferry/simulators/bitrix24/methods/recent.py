"""`im.recent.list` and `im.recent.get`: the chats in the messenger of the webhook's owner."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from chatferry.simulators.bitrix24 import jsontext, render
from chatferry.simulators.bitrix24.methods.call import Call, Method, Reply
from chatferry.simulators.bitrix24.model import CHANNEL, OPENLINE, PRIVATE, Chat
from chatferry.simulators.bitrix24.params import Params, as_int, is_yes, upper_keys

PAGE = 50
MAX_PAGE = 200
RECENT_DAYS = 30
REPEAT_DISTANCE = 6
"""How many rows further down a repeated row comes again."""

_TAG = re.compile(r"\[/?[A-Z]+[^\]]*\]")

_COPILOT = b'{"chats":null,"messages":null,"roles":{},"recommendedRoles":["copilot_assistant","marketing_specialist"]}'


def methods() -> Mapping[str, Method]:
    return {"im.recent.list": Method(_recent_list, ("im",)), "im.recent.get": Method(_recent_get, ("im",))}


def _recent_list(call: Call) -> Reply:
    params = upper_keys(call.params)
    limit = min(as_int(params.get("LIMIT")) or PAGE, MAX_PAGE)
    offset = max(as_int(params.get("OFFSET"), 0) or 0, 0)
    records = _with_repeats(_selected(call, params), call.context.quirks.recent_repeats)
    page = dict.fromkeys(chat.id for chat in records[offset : offset + limit])
    items = jsontext.array([_item(call, call.portal.chats[chat_id]) for chat_id in page])
    more = b"true" if offset + limit < len(records) else b"false"
    body = b'{"items":%b,"hasMorePages":%b,"hasMore":%b,"copilot":%b,"messagesAutoDeleteConfigs":[]}'
    return Reply(body % (items, more, more, _COPILOT), total=-1)


def _recent_get(call: Call) -> Reply:
    """Only what was active in the last month."""
    params = upper_keys(call.params)
    oldest = call.now - RECENT_DAYS * 86400
    chats = [chat for chat in _selected(call, params) if (_last_activity(chat) or 0) >= oldest]
    return Reply(jsontext.array([_item(call, chat) for chat in chats]))


def _selected(call: Call, params: Params) -> list[Chat]:
    only_channels = is_yes(params.get("ONLY_CHANNEL"))
    hide_channels = call.context.quirks.channels_on_request_only and not only_channels
    unread_only = is_yes(params.get("UNREAD_ONLY"))
    before = _moment(params.get("LAST_MESSAGE_DATE"))
    skipped = _skipped_types(params)

    def wanted(chat: Chat) -> bool:
        channel = chat.message_type == CHANNEL
        if chat.message_type in skipped or (only_channels and not channel) or (hide_channels and channel):
            return False
        if unread_only and not _counter(call, chat):
            return False
        return before is None or (_last_activity(chat) or 0) < before

    return [chat for chat in call.view.recent() if wanted(chat)]


def _skipped_types(params: Params) -> set[str]:
    skipped = set()
    if is_yes(params.get("SKIP_OPENLINES")):
        skipped.add(OPENLINE)
    if is_yes(params.get("SKIP_DIALOG")):
        skipped.add(PRIVATE)
    if is_yes(params.get("SKIP_CHAT")):
        skipped |= set(render.CHAT_TYPES) - {PRIVATE, OPENLINE}
    return skipped


def _with_repeats(chats: list[Chat], every: int) -> list[Chat]:
    """The portal pages over records and collapses them into dialogs only then: a dialog may come on two pages."""
    if not every:
        return chats
    rows: list[Chat] = []
    for index, chat in enumerate(chats):
        rows.append(chat)
        origin = index - REPEAT_DISTANCE
        if origin >= 0 and origin % every == every - 1:
            rows.append(chats[origin])
    return rows


def _counter(call: Call, chat: Chat) -> int:
    return len(chat.log) - call.view.unread_position(chat)


def _last_activity(chat: Chat) -> float | None:
    """Seconds since the epoch; None when the last message's date cannot be read."""
    return _moment(chat.log.fields(len(chat.log) - 1)["date"] if len(chat.log) else chat.created_at)


def _moment(text: object) -> float | None:
    if not isinstance(text, str) or not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _item(call: Call, chat: Chat) -> bytes:
    partner = call.view.partner_id(chat)
    preview, author_id = _preview(call, chat)
    item: dict[str, Any] = {
        "id": f"chat{chat.id}" if partner is None else partner,
        "chat_id": chat.id,
        "type": "chat" if partner is None else "user",
        "avatar": {"url": "", "color": render.color(chat.id)},
        "title": chat.title if partner is None else call.portal.users[partner].name,
        "message": orjson.Fragment(jsontext.dump(preview)),
        "counter": _counter(call, chat),
        "last_id": chat.log.last_id,
        "pinned": call.view.webhook.user_id in chat.pinned_by,
        "unread": False,
        "has_reminder": False,
        "date_update": preview["date"],
        "date_last_activity": preview["date"],
        "user": _user(call, author_id if partner is None else partner),
        "chat": _chat(call, chat) if partner is None else _private_chat(),
        "options": [],
    }
    return orjson.dumps(item)


def _user(call: Call, user_id: int) -> Any:
    body = call.context.users.get(user_id)
    return {"id": 0} if body is None else orjson.Fragment(body)


def _private_chat() -> dict[str, Any]:
    return {"text_field_enabled": True, "background_id": None, "mute_list": []}


def _chat(call: Call, chat: Chat) -> dict[str, Any]:
    return render.chat_common(chat) | {
        "contains_collaber": False,
        "restrictions": render.RESTRICTIONS,
        "role": render.role(chat, call.view.webhook.user_id),
    }


def _preview(call: Call, chat: Chat) -> tuple[dict[str, Any], int]:
    """The last message in short, and its author; the text is shortened and without markup, not the original."""
    if len(chat.log) <= call.view.first_position(chat):
        empty = {"id": 0, "text": "", "file": False, "author_id": 0, "attach": False, "sticker": None}
        return empty | {"date": chat.created_at, "status": "received", "uuid": None}, 0
    fields = chat.log.fields(len(chat.log) - 1)
    author_id = fields.get("author_id", 0)
    params = fields["params"] or {}
    return {
        "id": chat.log.last_id,
        "text": _plain(fields["text"]),
        "file": "FILE_ID" in params,
        "author_id": author_id,
        "attach": False,
        "sticker": None,
        "date": fields["date"],
        "status": "received",
        "uuid": fields["uuid"],
    }, author_id


def _plain(text: str) -> str:
    return _TAG.sub("", text[:300])[:100]
