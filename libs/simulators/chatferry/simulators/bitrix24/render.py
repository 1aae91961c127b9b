"""JSON of users, chats and files in the shapes of `im.*` and `user.get`."""

from typing import Any

import orjson

from chatferry.simulators.bitrix24 import jsontext
from chatferry.simulators.bitrix24.model import (
    CHANNEL,
    GROUP,
    OBJECT,
    OPEN,
    OPENLINE,
    PRIVATE,
    Chat,
    File,
    Portal,
    User,
)

COLORS = ("#1eb4aa", "#4ba984", "#df532d", "#58cc47", "#f76187", "#ab7761", "#048bd0")
CHAT_TYPES = {PRIVATE: "private", GROUP: "chat", OPEN: "open", CHANNEL: "channel", OPENLINE: "lines", OBJECT: "chat"}
OBJECT_TYPES = {"TASKS_TASK": "tasksTask", "SONET_GROUP": "sonetGroup", "CRM": "crm", "CALENDAR": "calendar"}
IMAGE_EXTENSIONS = {"png", "jpg", "jpeg", "gif", "webp"}


def color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def im_user(user: User) -> bytes:
    """A user as every `im.*` method sends it."""
    return jsontext.dump(
        {
            "id": user.id,
            "active": user.active,
            "name": user.name,
            "first_name": user.first_name,
            "last_name": user.last_name,
            "work_position": user.work_position,
            "color": color(user.id),
            "avatar": "",
            "avatar_hr": "",
            "gender": user.gender or "M",
            "birthday": "",
            "extranet": user.extranet,
            "network": False,
            "bot": user.bot,
            "connector": False,
            "external_auth_id": "bot" if user.bot else "default",
            "status": "online" if user.active else "offline",
            "idle": False,
            "last_activity_date": user.registered_at if user.active else False,
            "mobile_last_date": False,
            "desktop_last_date": False,
            "absent": False,
            "departments": [] if user.bot or user.extranet else list(user.departments),
            "phones": {"personal_mobile": f"+7900{user.id:07d}"} if user.id % 3 == 0 else False,
            "bot_data": {"code": f"bot{user.id}", "type": "bot", "app_id": "", "is_hidden": False}
            if user.bot
            else None,
            "type": "bot" if user.bot else "extranet" if user.extranet else "user",
            "website": "",
            "email": user.email,
        }
    )


class UserJson:
    """Rendered users, kept until any user is changed."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._known: dict[int, bytes] = {}
        self._revision = -1

    def get(self, user_id: int) -> bytes | None:
        """None for an id the portal does not know."""
        if self._revision != self._portal.users_revision:
            self._known.clear()
            self._revision = self._portal.users_revision
        body = self._known.get(user_id)
        if body is None:
            user = self._portal.users.get(user_id)
            if user is None:
                return None
            body = self._known[user_id] = im_user(user)
        return body

    def array(self, user_ids: set[int]) -> bytes:
        return jsontext.array([body for user_id in sorted(user_ids) if (body := self.get(user_id)) is not None])


PERMISSIONS = orjson.Fragment(
    b'{"manage_users_add":"member","manage_users_delete":"manager","manage_ui":"member",'
    b'"manage_settings":"owner","manage_messages":"member","can_post":"member"}'
)
RESTRICTIONS = dict.fromkeys(
    ("avatar", "rename", "extend", "call", "mute", "leave", "leave_owner", "send", "user_list"), True
)


def role(chat: Chat, user_id: int) -> str:
    if user_id == chat.owner_id:
        return "OWNER"
    if user_id in chat.manager_ids:
        return "MANAGER"
    return "MEMBER" if user_id in chat.members else "GUEST"


def chat_type(chat: Chat) -> str:
    if chat.general:
        return "general"
    return OBJECT_TYPES.get(chat.entity_type, CHAT_TYPES[chat.message_type])


def entity_link(chat: Chat) -> dict[str, str]:
    if not chat.entity_type or chat.general:
        return {"type": "", "url": "", "id": ""}
    kind = "TASKS" if chat.entity_type == "TASKS_TASK" else chat.entity_type
    return {"type": kind, "url": f"/company/entity/{chat.entity_id}/", "id": chat.entity_id}


def chat_common(chat: Chat) -> dict[str, Any]:
    """Keys that the recent list and `im.dialog.get` share with equal values."""
    return {
        "id": chat.id,
        "parent_chat_id": 0,
        "parent_message_id": 0,
        "name": chat.title,
        "owner": chat.owner_id,
        "extranet": False,
        "avatar": "",
        "color": color(chat.id),
        "type": chat_type(chat),
        "entity_type": chat.entity_type,
        "entity_id": chat.entity_id,
        "entity_data_1": "",
        "entity_data_2": "",
        "entity_data_3": "",
        "mute_list": {str(chat.owner_id): True} if chat.id % 5 == 2 and chat.owner_id else [],
        "manager_list": list(chat.manager_ids),
        "date_create": chat.created_at,
        "message_type": chat.message_type,
        "user_counter": len(chat.members),
        "text_field_enabled": True,
        "background_id": None,
        "entity_link": entity_link(chat),
        "permissions": PERMISSIONS,
        "public": "",
    }


def file(record: File, author_name: str) -> bytes:
    extension = record.name.rpartition(".")[2].lower() if "." in record.name else ""
    image = extension in IMAGE_EXTENSIONS
    link = f"/bitrix/services/main/ajax.php?action=disk.api.file.download&fileId={record.id}"
    return jsontext.dump(
        {
            "id": record.id,
            "chatId": record.chat_id,
            "date": record.date,
            "type": "image" if image else "file",
            "name": record.name,
            "extension": extension,
            "size": record.size,
            "image": {"height": 61, "width": 72} if image else False,
            "status": "done",
            "progress": 100,
            "authorId": record.author_id,
            "authorName": author_name,
            "urlPreview": link if image else "",
            "urlShow": link,
            "urlDownload": link,
            "viewerAttrs": {
                "viewer": "",
                "viewerType": "image" if image else "unknown",
                "src": link,
                "viewerResized": "",
                "objectId": str(record.id),
                "viewerGroupBy": str(record.chat_id),
                "imChatId": record.chat_id,
                "title": record.name,
                "actions": "[]",
            },
            "mediaUrl": {"preview": {"250": link}} if image else [],
            "isTranscribable": False,
            "isVideoNote": False,
            "isVoiceNote": False,
        }
    )
