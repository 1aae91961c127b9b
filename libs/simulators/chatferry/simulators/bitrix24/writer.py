"""Writes generated messages into chats: ordinary ones, every special kind, and odd ones on request."""

from dataclasses import dataclass, fields
from random import Random

from chatferry.simulators.bitrix24 import texts
from chatferry.simulators.bitrix24.messages import DELETED_TEXT, Message
from chatferry.simulators.bitrix24.model import PRIVATE, Chat, File, Portal

POOL = 1500
LONG_TEXT_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class OddData:
    """How many messages of each odd kind there are, spread over the portal."""

    lone_surrogates: int = 0
    control_characters: int = 0
    long_texts: int = 0
    """100,000 characters, Cyrillic: twice as many bytes."""
    dates_without_offset: int = 0
    impossible_dates: int = 0
    missing_ids: int = 0
    missing_authors: int = 0


class MessageWriter:
    """`expected`: how many messages will be written; odd ones are spread over them."""

    def __init__(self, portal: Portal, odd: OddData, expected: int, random: Random) -> None:
        self.portal = portal
        self._random = random
        self._pool = texts.sentences(random, POOL)
        self._odd = _spread(odd, expected, random)
        self._written = 0
        self._members: dict[int, list[int]] = {}

    def write(self, chat: Chat, message_id: int, date: str) -> None:
        odd = self._odd.get(self._written)
        self._written += 1
        members = self._members.get(chat.id)
        if members is None:
            members = self._members[chat.id] = list(chat.members)
        author_id = members[self._random.getrandbits(16) % len(members)]
        if odd is not None:
            message = self._odd_message(odd, chat, message_id, author_id, date)
        else:
            message = self._message(chat, message_id, author_id, date)
        self.portal.put_message(message)

    def _message(self, chat: Chat, message_id: int, author_id: int, date: str) -> Message:
        luck = self._random.random()
        if luck < 0.70:
            return Message(message_id, chat.id, author_id, date, self._text())
        if luck < 0.72:
            return Message(message_id, chat.id, author_id, date, DELETED_TEXT, deleted=True)
        if luck < 0.74 and chat.message_type != PRIVATE:
            return self._system(chat, message_id, author_id, date)
        return self._special(chat, message_id, author_id, date, luck)

    def _special(self, chat: Chat, message_id: int, author_id: int, date: str, luck: float) -> Message:
        """Answered, liked, edited or with a file, and several of these now and then."""
        answered = luck < 0.86 and len(chat.log) > 0
        filed = luck >= 0.97
        name = self.portal.users[author_id].name
        return Message(
            id=message_id,
            chat_id=chat.id,
            author_id=author_id,
            date=date,
            text="" if luck > 0.985 else texts.mention(author_id, name) + self._text(),
            reply_to=chat.log.ids[-1 - self._random.randrange(min(len(chat.log), 40))] if answered else None,
            likes=tuple(sorted(chat.members)[:3]) if 0.83 < luck < 0.93 else (),
            file_ids=self._files(chat, author_id, date) if filed else (),
            edited=0.92 < luck < 0.975,
        )

    def _system(self, chat: Chat, message_id: int, user_id: int, date: str) -> Message:
        users = self.portal.users
        if self._random.random() < 0.3:
            return Message(message_id, chat.id, 0, date, texts.left(user_id, users[user_id].name), code="CHAT_LEAVE")
        text = texts.joined(chat.owner_id, users[chat.owner_id].name, user_id, users[user_id].name)
        return Message(message_id, chat.id, 0, date, text, code="CHAT_JOIN")

    def _files(self, chat: Chat, author_id: int, date: str) -> tuple[int, ...]:
        ids = []
        for _ in range(1 + (self._random.random() < 0.2)):
            file_id = 5001 + 2 * len(self.portal.files)
            name = self._random.choice(texts.FILE_NAMES)
            size = self._random.randrange(10, 50_000_000)
            self.portal.add_file(File(file_id, chat.id, author_id, date, name, size))
            ids.append(file_id)
        return tuple(ids)

    def _text(self) -> str:
        bits = self._random.getrandbits(32)
        text = self._pool[bits % POOL]
        while bits and bits % 5 < 2:
            bits //= 5
            text += " " + self._pool[bits % POOL]
        return text

    def _odd_message(self, kind: str, chat: Chat, message_id: int, author_id: int, date: str) -> Message:
        text = self._text()
        missing: tuple[str, ...] = ()
        if kind == "lone_surrogates":
            text = f"half of an emoji \ud83d and back \ude00 {text}"
        elif kind == "control_characters":
            text = f"null \x00 bell \x07 escape \x1b delete \x7f next line \x85 {text}"
        elif kind == "long_texts":
            text = "я" * LONG_TEXT_CHARACTERS
        elif kind == "dates_without_offset":
            date = date[:19]
        elif kind == "impossible_dates":
            date = "2024-02-30T25:61:00+03:00"
        else:
            missing = ("id",) if kind == "missing_ids" else ("author_id",)
        return Message(message_id, chat.id, author_id, date, text, missing=missing)


def _spread(odd: OddData, expected: int, random: Random) -> dict[int, str]:
    """Number of the message to its odd kind; fewer than asked for when there are too few messages."""
    kinds = [item.name for item in fields(odd) for _ in range(getattr(odd, item.name))]
    places = random.sample(range(expected), min(len(kinds), expected))
    return dict(zip(places, kinds, strict=False))
