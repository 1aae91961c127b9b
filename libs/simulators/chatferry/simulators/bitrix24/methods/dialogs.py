"""`im.dialog.get` and `im.chat.get`: the data of one chat, and the chat of an object."""

from collections.abc import Mapping
from typing import Any

from chatferry.simulators.bitrix24 import jsontext, render
from chatferry.simulators.bitrix24.methods.call import Call, Method, Reply
from chatferry.simulators.bitrix24.model import Chat
from chatferry.simulators.bitrix24.params import upper_keys


def methods() -> Mapping[str, Method]:
    return {"im.dialog.get": Method(_dialog_get, ("im",)), "im.chat.get": Method(_chat_get, ("im",))}


def _dialog_get(call: Call) -> Reply:
    chat = call.view.dialog(upper_keys(call.params).get("DIALOG_ID"))
    return _data(call, chat)


def _chat_get(call: Call) -> Reply:
    """An ENTITY pair becomes an id. With DIALOG_ID it is `im.dialog.get`; CHAT_ID alone gives null."""
    params = upper_keys(call.params)
    if params.get("DIALOG_ID"):
        return _data(call, call.view.dialog(params["DIALOG_ID"]))
    chat = call.portal.object_chat(str(params.get("ENTITY_TYPE", "")), str(params.get("ENTITY_ID", "")))
    if chat is None or not call.view.sees(chat):
        return Reply(b"null")
    return Reply(jsontext.dump({"ID": chat.id}))


def _data(call: Call, chat: Chat) -> Reply:
    """`message_count` and `last_message_id` are those of the whole chat, hidden history included."""
    user_id = call.view.webhook.user_id
    unread = call.view.unread_position(chat)
    fields: dict[str, Any] = render.chat_common(chat) | {
        "description": chat.description,
        "counter": len(chat.log) - unread,
        "message_count": len(chat.log),
        "unread_id": chat.log.ids[unread] if unread < len(chat.log) else 0,
        "restrictions": render.RESTRICTIONS | {"path": "", "path_title": ""},
        "last_message_id": chat.log.last_id,
        "last_id": chat.log.ids[unread - 1] if unread else 0,
        "marked_id": 0,
        "disk_folder_id": 0,
        "role": render.role(chat, user_id).lower(),
        "is_new": False,
        "readed_list": _readers(call, chat),
        "last_message_views": {"message_id": chat.log.last_id, "first_viewers": [], "count_of_viewers": 0},
        "dialog_id": call.view.dialog_id(chat),
    }
    partner = call.view.partner_id(chat)
    if partner is not None:
        fields["name"] = call.portal.users[partner].name
    return Reply(jsontext.dump(fields))


def _readers(call: Call, chat: Chat) -> list[dict[str, Any]]:
    others = [user_id for user_id in list(chat.members)[:3] if user_id != call.view.webhook.user_id]
    users = call.portal.users
    return [{"user_id": user, "user_name": users[user].name, "message_id": 0, "date": None} for user in others]
