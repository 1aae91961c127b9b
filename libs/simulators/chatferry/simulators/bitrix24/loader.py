"""A portal from a folder with users.jsonl, chats.jsonl and messages.jsonl: ids, texts and dates as they are there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chatferry.simulators.bitrix24 import jsontext
from chatferry.simulators.bitrix24.errors import PortalDataError
from chatferry.simulators.bitrix24.messages import Message
from chatferry.simulators.bitrix24.model import CHANNEL, GROUP, PRIVATE, Chat, File, Portal, User

MESSAGE_TYPES = {"private": PRIVATE, "group": GROUP, "channel": CHANNEL}
OWNER_NAME = "Portal owner"

Row = dict[str, Any]


def load_folder(folder: Path) -> Portal:
    """Raises PortalDataError, with file and line, for anything that cannot be loaded.

    One account more than the folder has is added: the highest id, an administrator whom user.get does not list.
    """
    if not folder.is_dir():
        raise PortalDataError(f"{folder} is not a folder: give one with users.jsonl, chats.jsonl and messages.jsonl")
    loader = _Loader(Portal())
    for name, add in (("users", loader.add_user), ("chats", loader.add_chat), ("messages", loader.add_message)):
        _load(folder / f"{name}.jsonl", add)
    add_owner(loader.portal)
    return loader.portal


def add_owner(portal: Portal) -> User:
    """The account that webhooks are given to who see everything: above all ids, not listed, member of nothing."""
    owner = User(max(portal.users, default=0) + 1, OWNER_NAME, admin=True, listed=False)
    portal.put_user(owner)
    return owner


def _load(path: Path, add: Callable[[Row], None]) -> None:
    for number, row in _rows(path):
        try:
            add(row)
        except KeyError as error:
            raise PortalDataError(f"{path}:{number}: the key {error} is missing") from error
        except ValueError as error:
            raise PortalDataError(f"{path}:{number}: {error}") from error


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise PortalDataError(f"{path} cannot be read ({error.strerror}): the folder must have it") from error
    with file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = jsontext.load(line)
            except ValueError as error:
                raise PortalDataError(f"{path}:{number}: not JSON; every line must be one JSON object") from error
            if not isinstance(row, dict):
                raise PortalDataError(f"{path}:{number}: not a JSON object; every line must be one")
            yield number, row


def _typed(row: Row, key: str, kind: type, default: Any = None) -> Any:
    """Null is as good as missing. Raises KeyError without a default, ValueError for a value of another type."""
    value = default if row.get(key) is None else row[key]
    if value is None:
        raise KeyError(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{key} must be of type {kind.__name__}, not {type(value).__name__}")
    return value


class _Loader:
    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self._message_ids: set[int] = set()

    def add_user(self, row: Row) -> None:
        user_id = self._new_id(row, self.portal.users, "user")
        active = _typed(row, "active", bool, default=True)
        self.portal.put_user(User(user_id, _typed(row, "name", str), active=active, bot=row.get("bot") is True))

    def add_chat(self, row: Row) -> None:
        chat_id = self._new_id(row, self.portal.chats, "chat")
        kind = _typed(row, "type", str)
        if kind not in MESSAGE_TYPES:
            raise ValueError(f"the type {kind!r} is unknown; it must be one of {', '.join(MESSAGE_TYPES)}")
        members = [self._user(user) for user in _typed(row, "participant_ids", list)]
        if kind == "private" and len(set(members)) not in (1, 2):
            raise ValueError(f"a private chat has two participants, this one has {len(set(members))}")
        self.portal.add_chat(
            Chat(
                id=chat_id,
                message_type=MESSAGE_TYPES[kind],
                created_at=_typed(row, "created_at", str),
                title=_typed(row, "title", str, default=""),
                owner_id=self._user(row["owner_id"]) if row.get("owner_id") is not None else 0,
                members=dict.fromkeys(members, 0),
            )
        )

    def add_message(self, row: Row) -> None:
        message_id = self._new_id(row, self._message_ids, "message")
        chat_id = _typed(row, "chat_id", int)
        if chat_id not in self.portal.chats:
            raise ValueError(f"chat_id {chat_id} is not in chats.jsonl")
        system = _typed(row, "system", bool, default=False)
        author_id = 0 if system else self._user(row["author_id"])
        reply_to = _typed(row, "reply_to", int) if row.get("reply_to") is not None else None
        date = _typed(row, "date", str)
        files = self._files(row, chat_id, author_id, date)
        text = _typed(row, "text", str)
        self.portal.put_message(Message(message_id, chat_id, author_id, date, text, reply_to=reply_to, file_ids=files))
        self._message_ids.add(message_id)

    def _files(self, row: Row, chat_id: int, author_id: int, date: str) -> tuple[int, ...]:
        first = len(self.portal.files) + 1
        for attachment in _typed(row, "attachments", list, default=[]):
            if not isinstance(attachment, dict):
                raise ValueError("attachments must be objects with name and size")
            name, size = _typed(attachment, "name", str), _typed(attachment, "size", int, default=0)
            self.portal.add_file(File(len(self.portal.files) + 1, chat_id, author_id, date, name, size))
        return tuple(range(first, len(self.portal.files) + 1))

    def _new_id(self, row: Row, known: Any, what: str) -> int:
        number: int = _typed(row, "id", int)
        if number < 1:
            raise ValueError(f"id {number} is not positive")
        if number in known:
            raise ValueError(f"id {number} is there twice; every {what} needs an id of its own")
        return number

    def _user(self, user_id: Any) -> int:
        if not isinstance(user_id, int) or user_id not in self.portal.users:
            raise ValueError(f"user {user_id!r} is not in users.jsonl")
        return user_id
