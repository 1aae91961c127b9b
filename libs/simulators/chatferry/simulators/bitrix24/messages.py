"""Messages of one chat, kept as the JSON bytes the portal sends: half a million fit in a few hundred megabytes."""

import hashlib
import re
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any

from chatferry.simulators.bitrix24 import jsontext

DELETED_TEXT = "Сообщение удалено"
UNREAD = (b'"unread":false', b'"unread":true')
"""Safe to replace in a rendered message: inside a text the quotes are escaped."""

_MENTION = re.compile(r"\[USER=(\d+)")


@dataclass(frozen=True, slots=True)
class Message:
    """What a message is made of. `author_id` 0: a system message. `date` is sent as it is, right or wrong."""

    id: int
    chat_id: int
    author_id: int
    date: str
    text: str
    reply_to: int | None = None
    likes: tuple[int, ...] = ()
    file_ids: tuple[int, ...] = ()
    edited: bool = False
    deleted: bool = False
    code: str | None = None
    """What a system message is about: CHAT_JOIN, CHAT_LEAVE."""
    missing: tuple[str, ...] = ()
    """Keys this message lacks although it must not: `id`, `author_id`."""


@dataclass(frozen=True, slots=True)
class Extra:
    """Users besides the author, and files, that a page with this message lists."""

    people: tuple[int, ...] = ()
    files: tuple[int, ...] = ()


def render(message: Message) -> bytes:
    fields: dict[str, Any] = {
        "id": message.id,
        "chat_id": message.chat_id,
        "author_id": message.author_id,
        "date": message.date,
        "text": message.text,
        "unread": False,
        "uuid": _uuid(message.id) if message.author_id else None,
        "replaces": [],
        "params": _params(message) or [],
        "disappearing_date": None,
    }
    for key in message.missing:
        del fields[key]
    # The encoder's own bytes keep the room they were written in, several times their length: copied to fit.
    return bytes(memoryview(jsontext.dump(fields)))


def _params(message: Message) -> dict[str, Any]:
    if message.deleted:
        return {"IS_DELETED": "Y"}
    params: dict[str, Any] = {}
    if message.reply_to is not None:
        params["REPLY_ID"] = message.reply_to
    if message.file_ids:
        params["FILE_ID"] = list(message.file_ids)
    if message.likes:
        params["LIKE"] = list(message.likes)
    if message.edited:
        params["IS_EDITED"] = "Y"
    if message.code is not None:
        params |= {"CODE": [message.code], "NOTIFY": "N"}
    return params


def _uuid(message_id: int) -> str:
    digits = hashlib.blake2b(b"%d" % message_id, digest_size=16).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _extra(message: Message) -> Extra | None:
    if message.deleted:
        return None
    people = message.likes
    if not message.author_id:
        people += tuple(int(user) for user in _MENTION.findall(message.text))
    return Extra(people, message.file_ids) if people or message.file_ids else None


class MessageLog:
    """Ascending by id. Positions are indices into the log; ids are positive and unique within it."""

    __slots__ = ("_authors", "_bodies", "_extras", "ids")

    def __init__(self) -> None:
        self.ids = array("q")
        self._authors = array("q")
        self._bodies: list[bytes] = []
        self._extras: dict[int, Extra] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def last_id(self) -> int:
        return self.ids[-1] if self.ids else 0

    def put(self, message: Message) -> None:
        """Adds the message, in its place, or replaces the one with its id."""
        extra = _extra(message)
        if extra is not None:
            self._extras[message.id] = extra
        else:
            self._extras.pop(message.id, None)
        if message.id > self.last_id:
            self.ids.append(message.id)
            self._authors.append(message.author_id)
            self._bodies.append(render(message))
            return
        at = bisect_left(self.ids, message.id)
        if self.ids[at] != message.id:
            self.ids.insert(at, message.id)
            self._authors.insert(at, message.author_id)
            self._bodies.insert(at, b"")
        self._bodies[at] = render(message)

    def remove(self, message_id: int) -> None:
        """Raises KeyError when there is no such message."""
        at = self.position(message_id)
        del self.ids[at], self._authors[at], self._bodies[at]
        self._extras.pop(message_id, None)

    def position(self, message_id: int) -> int:
        """Raises KeyError when there is no such message."""
        at = bisect_left(self.ids, message_id)
        if at == len(self.ids) or self.ids[at] != message_id:
            raise KeyError(message_id)
        return at

    def before(self, message_id: int) -> int:
        """How many messages have a smaller id."""
        return bisect_left(self.ids, message_id)

    def up_to(self, message_id: int) -> int:
        """How many messages have this id or a smaller one."""
        return bisect_right(self.ids, message_id)

    def body(self, position: int) -> bytes:
        return self._bodies[position]

    def fields(self, position: int) -> dict[str, Any]:
        """The message as the portal sends it, decoded."""
        fields: dict[str, Any] = jsontext.load(self._bodies[position])
        return fields

    def message(self, message_id: int) -> Message:
        """The parts of a stored message; raises KeyError when there is none."""
        fields = self.fields(self.position(message_id))
        params = fields["params"] or {}
        return Message(
            id=message_id,
            chat_id=fields["chat_id"],
            author_id=fields.get("author_id", 0),
            date=fields["date"],
            text=fields["text"],
            reply_to=params.get("REPLY_ID"),
            likes=tuple(params.get("LIKE", ())),
            file_ids=tuple(params.get("FILE_ID", ())),
            edited="IS_EDITED" in params,
            deleted="IS_DELETED" in params,
            code=params["CODE"][0] if "CODE" in params else None,
            missing=tuple(key for key in ("id", "author_id") if key not in fields),
        )

    def bodies(self, start: int, stop: int) -> list[bytes]:
        return self._bodies[start:stop]

    def people_and_files(self, start: int, stop: int) -> tuple[set[int], list[int]]:
        """Authors, likers and people named by system messages, without 0; and the files of these messages."""
        people = set(self._authors[start:stop])
        files: list[int] = []
        extras = self._extras
        for message_id in extras.keys() & self.ids[start:stop] if extras else ():
            people.update(extras[message_id].people)
            files += extras[message_id].files
        people.discard(0)
        return people, sorted(files)
