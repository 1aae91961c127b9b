"""The paths of the REST side, by the names that log and faults know them by."""

import re
from typing import Final

ME: Final = "/me"
CHATS: Final = "/chats"
CHAT: Final = "/chats/{id}"
MEMBERS: Final = "/chats/{id}/members"
MEMBERSHIP: Final = "/chats/{id}/members/me"
ADMINS: Final = "/chats/{id}/members/admins"
SUBSCRIPTIONS: Final = "/subscriptions"
UPDATES: Final = "/updates"
UNKNOWN: Final = "?"

_PLAIN = {ME, CHATS, SUBSCRIPTIONS, UPDATES}
_OF_A_CHAT = re.compile(r"/chats/(-?\d{1,40})(/members(?:/me|/admins)?)?")


def read_path(path: str) -> tuple[str, int | None]:
    """The name of the path and the id in it."""
    if path in _PLAIN:
        return path, None
    match = _OF_A_CHAT.fullmatch(path)
    if match is None:
        return UNKNOWN, None
    return f"/chats/{{id}}{match[2] or ''}", int(match[1])
