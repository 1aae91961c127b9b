"""Chats and members as the platform says them."""

from typing import Any

from chatferry.simulators.max.model import BOT_ID, OWNER_PERMISSIONS, Chat, Kind
from chatferry.simulators.max.settings import Nothing
from chatferry.simulators.max.users import bot_json, user_json

MAP_LIMIT = 100
"""Chats with more members are said without the map of them."""

Json = dict[str, Any]


def spelled(values: Json, nulls: bool) -> Json:
    """What has no value is null, or is left out."""
    return values if nulls else {key: value for key, value in values.items() if value is not None}


def with_nulls(chat: Chat, nothing: Nothing) -> bool:
    return chat.nulls if nothing == "mixed" else nothing == "null"


def chat_json(chat: Chat, nothing: Nothing, *, listed: bool = False) -> Json:
    """As of now; `listed`: as a row of GET /chats, without what only a single read has."""
    fixed: Json = {
        "chat_id": chat.id,
        "type": chat.kind.value,
        "status": chat.status.value,
        "last_event_time": chat.last_event_ms,
        "participants_count": visible_count(chat),
        "is_public": chat.public,
    }
    nulls = with_nulls(chat, nothing)
    if chat.kind is Kind.DIALOG:
        companion = None if not chat.has_bot else user_json(chat.owner_id, photo=True)
        return fixed | spelled({"title": None, "icon": None, "dialog_with_user": companion}, nulls)
    inside = chat.has_bot
    admin = inside and chat.permissions is not None
    mapped = admin and not listed and chat.kind is Kind.CHAT and chat.count <= MAP_LIMIT
    return fixed | spelled(
        {
            "title": chat.title,
            "icon": {"url": "https://localhost/icon.png"} if chat.icon else None,
            "description": chat.description if inside else None,
            "owner_id": chat.owner_id if admin and chat.kind is Kind.CHAT else None,
            "participants": {str(user): chat.last_event_ms for user in chat.members} if mapped else None,
            "link": chat.link if inside else None,
            "messages_count": chat.messages if inside else None,
        },
        nulls,
    )


def visible_count(chat: Chat) -> int:
    """What a read says: always 2 of a dialog, and 0 where the bot is no more."""
    if chat.kind is Kind.DIALOG:
        return 2
    return chat.count if chat.has_bot else 0


def member_json(chat: Chat, user_id: int, nothing: Nothing) -> Json:
    owner = user_id == chat.owner_id
    permissions = OWNER_PERMISSIONS if owner else chat.permissions if user_id == BOT_ID else None
    who = bot_json(BOT_ID) if user_id == BOT_ID else user_json(user_id, bot=user_id in chat.bots)
    said = spelled({"permissions": None if permissions is None else list(permissions)}, with_nulls(chat, nothing))
    return {
        "last_access_time": chat.last_event_ms,
        "is_owner": owner,
        "is_admin": permissions is not None,
        "join_time": chat.members[user_id],
        **said,
        **who,
    }
