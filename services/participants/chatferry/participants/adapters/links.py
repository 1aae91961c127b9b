"""Which MAX chat a portal's chat is, from a file: a line `chat_id,max_chat_id` for each, or a MAX chat's id alone."""

from __future__ import annotations

import csv
from pathlib import Path

from chatferry.common.errors import ConfigurationError
from chatferry.participants.domain.counts import ChatId, MaxChatId

_INT64 = 2**63


def read_links(file: Path | None) -> dict[ChatId, MaxChatId]:
    """A chat that only MAX has is under its own id (`own_id`). Raises ConfigurationError that names the line. A first
    line of words is a head."""
    if file is None:
        return {}
    links: dict[ChatId, MaxChatId] = {}
    try:
        with file.open(encoding="utf-8", newline="") as rows:
            for number, row in enumerate(csv.reader(rows), start=1):
                if row and not (number == 1 and row[0].strip() == "chat_id"):
                    chat, max_chat = _link(row, f"CHATFERRY_MAX_LINKS_FILE: {file}, line {number}")
                    links[chat] = max_chat
    except (OSError, UnicodeDecodeError) as unreadable:
        raise ConfigurationError(f"CHATFERRY_MAX_LINKS_FILE: {file} cannot be read ({unreadable})") from None
    if len(set(links.values())) < len(links):
        raise ConfigurationError(f"CHATFERRY_MAX_LINKS_FILE: {file} links one MAX chat to two chats")
    return links


def _link(row: list[str], where: str) -> tuple[ChatId, MaxChatId]:
    alone = len(row) == 1 or (len(row) == 2 and not row[0].strip())
    try:
        chat, max_chat = (1, int(row[-1])) if alone else (int(cell) for cell in row)
    except ValueError:
        sentence = "give two whole numbers, chat_id,max_chat_id, or the max_chat_id alone"
        raise ConfigurationError(f"{where}: {sentence}") from None
    if not 0 < chat < _INT64 or not -_INT64 <= max_chat < 0:
        raise ConfigurationError(f"{where}: a chat_id is above 0, and a max_chat_id of a group or channel below it")
    return ChatId(max_chat if alone else chat), MaxChatId(max_chat)
