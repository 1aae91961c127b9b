"""Messages of a dialog: `im.dialog.messages.get`, and `im.chat.message.list` where a portal was told to have it."""

from collections.abc import Mapping

from chatferry.simulators.bitrix24 import jsontext, render
from chatferry.simulators.bitrix24.errors import PortalError
from chatferry.simulators.bitrix24.messages import UNREAD
from chatferry.simulators.bitrix24.methods.call import Call, Method, Reply
from chatferry.simulators.bitrix24.model import Chat
from chatferry.simulators.bitrix24.params import Params, as_int, upper_keys
from chatferry.simulators.bitrix24.settings import Quirks

PAGE = 20
MAX_PAGE = 50

Span = tuple[int, int]
"""Positions of the log, the end exclusive."""


def methods(quirks: Quirks) -> Mapping[str, Method]:
    real = {"im.dialog.messages.get": Method(_messages_get, ("im",))}
    planned = {"im.chat.message.list": Method(_message_list, ("im",))} if quirks.planning_message_list else {}
    return real | planned


def _messages_get(call: Call) -> Reply:
    params = upper_keys(call.params)
    dialog_id = params.get("DIALOG_ID") or (f"chat{params['CHAT_ID']}" if params.get("CHAT_ID") else None)
    chat = call.view.dialog(dialog_id)
    limit = min(max(as_int(params.get("LIMIT"), PAGE) or PAGE, 1), MAX_PAGE)
    spans = _spans(call, chat, params, limit)
    bodies: list[bytes] = []
    for start, stop in reversed(spans):
        bodies += reversed(_bodies(call, chat, start, stop))
    if "FIRST_ID" in params and call.context.quirks.unordered_first_id:
        bodies = _unordered(bodies)
    return Reply(_page(call, chat, spans, bodies), parts={"messages": bodies})


def _spans(call: Call, chat: Chat, params: Params, limit: int) -> list[Span]:
    """Which parts of the log the cursors ask for, ascending."""
    log, floor = chat.log, call.view.first_position(chat)
    first_id, last_id = as_int(params.get("FIRST_ID")), as_int(params.get("LAST_ID"))
    if first_id == 0:
        return _first_and_last(floor, len(log), limit)
    cursor = first_id if first_id is not None else last_id
    if cursor and call.context.quirks.unknown_cursor_is_empty and log.up_to(cursor) == log.before(cursor):
        return []
    if first_id is not None:
        start = max(log.up_to(first_id), floor)
        return [(start, min(start + limit, len(log)))]
    if last_id:
        stop = log.before(last_id)
        return [(max(stop - limit, floor), stop)] if stop > floor else []
    return [_first_page(floor, len(log), call.view.unread_position(chat), limit)]


def _first_and_last(floor: int, length: int, limit: int) -> list[Span]:
    """FIRST_ID=0 is no way to read from the start: the portal adds the last two messages to the first ones."""
    head = min(floor + limit, length)
    return [(floor, head), (max(head, length - 2), length)]


def _first_page(floor: int, length: int, unread: int, limit: int) -> Span:
    """Without a cursor the page depends on what is unread.

    Up to LIMIT unread messages come with LIMIT read ones; with more unread ones the page is centred on the last
    message that was read, and the newest are not in it.
    """
    count = length - unread
    if count == 0:
        return max(length - limit, floor), length
    stop = length if count <= limit else unread + limit
    return max(unread - limit, floor), stop


def _bodies(call: Call, chat: Chat, start: int, stop: int) -> list[bytes]:
    unread = call.view.unread_position(chat)
    if unread >= stop:
        return chat.log.bodies(start, stop)
    split = max(start, unread)
    return chat.log.bodies(start, split) + [body.replace(*UNREAD, 1) for body in chat.log.bodies(split, stop)]


def _unordered(bodies: list[bytes]) -> list[bytes]:
    middle = len(bodies) // 3
    return bodies[middle:] + bodies[:middle]


def _page(call: Call, chat: Chat, spans: list[Span], bodies: list[bytes]) -> bytes:
    people: set[int] = set()
    files: list[bytes] = []
    for start, stop in spans:
        authors, file_ids = chat.log.people_and_files(start, stop)
        people |= authors
        files += [_file(call, file_id) for file_id in file_ids]
    return b'{"chat_id":%d,"messages":%b,"users":%b,"files":%b}' % (
        chat.id,
        jsontext.array(bodies),
        call.context.users.array(people),
        jsontext.array(files),
    )


def _file(call: Call, file_id: int) -> bytes:
    record = call.portal.files[file_id]
    author = call.portal.users.get(record.author_id)
    return render.file(record, author.name if author else "")


def _message_list(call: Call) -> Reply:
    """The planning name: OFFSET and LIMIT, ids ascending, the messages as in the real method."""
    params = upper_keys(call.params)
    if params.get("CHAT_ID") in (None, "", 0, "0"):
        raise PortalError("CHAT_ID_EMPTY")
    chat = call.view.chat(as_int(params["CHAT_ID"]))
    limit = min(max(as_int(params.get("LIMIT"), MAX_PAGE) or MAX_PAGE, 1), MAX_PAGE)
    floor = call.view.first_position(chat)
    start = min(floor + max(as_int(params.get("OFFSET"), 0) or 0, 0), len(chat.log))
    stop = min(start + limit, len(chat.log))
    bodies = _bodies(call, chat, start, stop)
    return Reply(_page(call, chat, [(start, stop)], bodies)[:-1] + b',"total":%d}' % (len(chat.log) - floor))
