"""What is really there, for tests that must not believe their own client: plain values, read past the REST methods.

A user   id, name, first_name, last_name, email, active, bot, extranet, work_position, departments, listed
A chat   id, dialog_id, message_type, title, description, owner_id, manager_ids, participant_ids (sorted), created_at,
         entity_type, entity_id, message_count, last_message_id (what im.dialog.get says), visible_messages, recent
A message  id, chat_id, author_id (None: system), text, date, system, deleted, edited, reply_to, likes,
         files (id, name, size); deleted ones have their placeholder text
"""

from collections.abc import Iterator
from typing import Any

from chatferry.simulators.bitrix24.engine import Engine
from chatferry.simulators.bitrix24.model import Chat, Portal, Webhook
from chatferry.simulators.bitrix24.visibility import View

Row = dict[str, Any]


def counts(portal: Portal) -> dict[str, int]:
    """`users`: those whom user.get can return; `accounts`: bots and the owner account too."""
    return {
        "users": sum(user.listed and not user.bot for user in portal.users.values()),
        "accounts": len(portal.users),
        "chats": len(portal.chats),
        "messages": portal.count_messages(),
        "files": len(portal.files),
    }


def statistics(engine: Engine) -> Row:
    """Requests and answers since the start; `limit_answers` are those of the rate limit, faults included."""
    given = engine.statistics
    return {
        "requests": dict(given.requests),
        "requests_total": sum(given.requests.values()),
        "commands": dict(given.commands),
        "batch_sizes": {str(size): count for size, count in sorted(given.batch_sizes.items())},
        "errors": dict(given.errors),
        "command_errors": dict(given.command_errors),
        "limit_answers": given.errors["QUERY_LIMIT_EXCEEDED"],
        "operating_answers": given.errors["OPERATION_TIME_LIMIT"] + given.command_errors["OPERATION_TIME_LIMIT"],
        "faults": dict(given.faults),
        "faults_by_method": [
            {"kind": str(kind), "method": method, "count": count} for (kind, method), count in engine.faults.met.items()
        ],
        "first_request_at": given.first_request_at,
        "last_request_at": given.last_request_at,
    }


def users(portal: Portal) -> list[Row]:
    """Every account: employees, dismissed ones, extranet users, bots, and the owner account (`listed` false)."""
    return [
        {
            "id": user.id,
            "name": user.name,
            "first_name": user.first_name,
            "last_name": user.last_name,
            "email": user.email,
            "active": user.active,
            "bot": user.bot,
            "extranet": user.extranet,
            "work_position": user.work_position,
            "departments": list(user.departments),
            "listed": user.listed,
        }
        for user in sorted(portal.users.values(), key=lambda user: user.id)
    ]


def chats(portal: Portal, webhook: Webhook) -> list[Row]:
    """Chats that the webhook's owner may read, by id, hidden recents too (`recent` false)."""
    view = View(portal, webhook)
    recent = {chat.id for chat in view.recent()}
    visible = sorted((chat for chat in portal.chats.values() if view.sees(chat)), key=lambda chat: chat.id)
    return [_chat(view, chat) | {"recent": chat.id in recent} for chat in visible]


def messages(portal: Portal, webhook: Webhook, chat_id: int) -> Iterator[Row]:
    """Messages of one chat that the webhook's owner may read, by id; nothing when the chat is not for these eyes."""
    view = View(portal, webhook)
    chat = portal.chats.get(chat_id)
    if chat is None or not view.sees(chat):
        return
    for position in range(view.first_position(chat), len(chat.log)):
        yield _message(portal, chat, position)


def _chat(view: View, chat: Chat) -> Row:
    return {
        "id": chat.id,
        "dialog_id": view.dialog_id(chat),
        "message_type": chat.message_type,
        "title": chat.title,
        "description": chat.description,
        "owner_id": chat.owner_id,
        "manager_ids": list(chat.manager_ids),
        "participant_ids": sorted(chat.members),
        "created_at": chat.created_at,
        "entity_type": chat.entity_type,
        "entity_id": chat.entity_id,
        "message_count": len(chat.log),
        "last_message_id": chat.log.last_id,
        "visible_messages": len(chat.log) - view.first_position(chat),
    }


def _message(portal: Portal, chat: Chat, position: int) -> Row:
    message = chat.log.message(chat.log.ids[position])
    files = [portal.files[file_id] for file_id in message.file_ids]
    return {
        "id": message.id,
        "chat_id": message.chat_id,
        "author_id": message.author_id or None,
        "text": message.text,
        "date": message.date,
        "system": message.author_id == 0,
        "deleted": message.deleted,
        "edited": message.edited,
        "reply_to": message.reply_to,
        "likes": list(message.likes),
        "files": [{"id": file.id, "name": file.name, "size": file.size} for file in files],
    }
