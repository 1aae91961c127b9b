"""Participants of chats, and users by id: `im.dialog.users.list`, `im.chat.user.list`, `im.user.list.get`."""

from collections.abc import Mapping
from typing import Any

from chatferry.simulators.bitrix24 import jsontext
from chatferry.simulators.bitrix24.errors import PortalError
from chatferry.simulators.bitrix24.methods.call import Call, Method, Reply
from chatferry.simulators.bitrix24.params import as_int, as_list, is_yes, upper_keys

PAGE = 50
MAX_PAGE = 200


def methods() -> Mapping[str, Method]:
    return {
        "im.dialog.users.list": Method(_dialog_users, ("im",)),
        "im.chat.user.list": Method(_chat_users, ("im",)),
        "im.user.list.get": Method(_users_by_id, ("im",)),
        "im.user.get": Method(_user_by_id, ("im",)),
    }


def _dialog_users(call: Call) -> Reply:
    """Active members only; with LAST_ID a page says neither how many there are nor where the next one starts."""
    params = upper_keys(call.params)
    chat = call.view.dialog(params.get("DIALOG_ID"))
    limit = min(as_int(params.get("LIMIT")) or PAGE, MAX_PAGE)
    skip_external = is_yes(params.get("SKIP_EXTERNAL"))
    users = call.portal.users
    ids = sorted(user for user in chat.members if users[user].active and not (skip_external and users[user].bot))
    last_id = as_int(params.get("LAST_ID"))
    if last_id is not None:
        ids = [user for user in ids if user > last_id]
        return Reply(call.context.users.array(set(ids[:limit])))
    offset = max(as_int(params.get("OFFSET"), 0) or 0, 0)
    following = offset + limit if offset + limit < len(ids) else None
    return Reply(call.context.users.array(set(ids[offset : offset + limit])), next=following, total=len(ids))


def _chat_users(call: Call) -> Reply:
    """All members, the dismissed ones too, unpaged. The company's general chat does not tell."""
    chat_id = upper_keys(call.params).get("CHAT_ID")
    if chat_id in (None, "", 0, "0"):
        raise PortalError("CHAT_ID_EMPTY")
    chat = call.view.chat(as_int(chat_id))
    if chat.general:
        raise PortalError("ACCESS_ERROR")
    return Reply(jsontext.dump(list(chat.members)))


def _users_by_id(call: Call) -> Reply:
    """A list with RESULT_TYPE=array, else a map by id with null for unknown ones."""
    params = upper_keys(call.params)
    ids = _ids(params.get("ID", call.view.webhook.user_id))
    known = {user_id: call.context.users.get(user_id) for user_id in ids}
    if str(params.get("RESULT_TYPE", "")).lower() == "array":
        return Reply(jsontext.array([body for body in known.values() if body is not None]))
    if not known:
        return Reply(b"[]")
    return Reply(b"{" + b",".join(b'"%d":%b' % (user_id, body or b"null") for user_id, body in known.items()) + b"}")


def _ids(value: Any) -> list[int]:
    """A list, a map, one id, or a JSON text of a list."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = jsontext.load(value)
        except ValueError as error:
            raise PortalError("INVALID_FORMAT") from error
    ids = [as_int(item) for item in as_list(value)]
    if None in ids:
        raise PortalError("INVALID_FORMAT")
    return [user_id for user_id in ids if user_id is not None]


def _user_by_id(call: Call) -> Reply:
    user_id = as_int(upper_keys(call.params).get("ID"), call.view.webhook.user_id)
    body = None if user_id is None else call.context.users.get(user_id)
    if body is None:
        raise PortalError("ERROR_ARGUMENT", "User not found")
    return Reply(body)
