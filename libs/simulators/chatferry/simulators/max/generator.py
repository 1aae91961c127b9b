"""A platform from a seed: a few large chats and many small ones, some channels, some dialogs, ids of all sizes."""

from collections.abc import Container
from dataclasses import dataclass
from random import Random

from chatferry.simulators.max.model import BOT_ID, Chat, Kind, Platform, Status
from chatferry.simulators.max.users import FAR_USER, FIRST_USER

TITLES = ("Поддержка", "Отдел продаж", "Новости", "Support room", "Ёлка и Ко", "Café crème", "Проект", "Склад № 7")
BEGINNING_MS = 1_779_900_000_000
FAR_EVERY = 10
"""Every so many chats and users there is one with an id that a double cannot hold."""


@dataclass(frozen=True, slots=True)
class Size:
    """The same values make the same platform."""

    seed: int = 1
    chats: int = 100
    largest: int = 5000
    """Members of the largest chat; the n-th has an n-th of them, three at least."""
    dialogs: float = 0.05
    channels: float = 0.1
    not_admin: float = 0.0
    """Share of the groups where the bot is no administrator."""
    removed: float = 0.0
    """Share of the groups and channels that the bot was removed from."""

    def __post_init__(self) -> None:
        if self.chats < 0 or self.largest < 3:
            raise ValueError("a platform has no fewer than 0 chats, and its largest chat no fewer than 3 members")
        if self.dialogs + self.channels > 1 or min(self.dialogs, self.channels, self.not_admin, self.removed) < 0:
            raise ValueError("shares of chats lie between 0 and 1, dialogs and channels together too")


def generate(size: Size) -> Platform:
    random = Random(f"{size.seed}:platform")  # noqa: S311 repeatable data, not secrets
    people = max(1000, size.largest * 2)
    chats: dict[int, Chat] = {}
    dialogs = round(size.chats * size.dialogs)
    channels = round(size.chats * size.channels)
    for number in range(size.chats - dialogs):
        kind = Kind.CHANNEL if _spread(number, channels, size.chats - dialogs) else Kind.CHAT
        chat_id = new_chat_id(random, chats, kind, far=number % FAR_EVERY == 1)
        chat = _shared(random, chat_id, kind, _members(random, size, number + 1, people))
        _bot_state(random, size, chat)
        chats[chat.id] = chat
    for _ in range(dialogs):
        chat = _dialog(random, new_chat_id(random, chats, Kind.DIALOG), people)
        chats[chat.id] = chat
    return Platform(chats, people)


def person(random: Random, people: int) -> int:
    """The id of one of so many; every tenth has one beyond 2^53."""
    return _person(random.randrange(people))


def new_chat_id(random: Random, taken: Container[int], kind: Kind, far: bool = False) -> int:
    """Positive for dialogs, negative for all others; `far`: beyond 2^53."""
    while True:
        if kind is Kind.DIALOG:
            chat_id = random.randrange(10**8, 10**12)
        else:
            chat_id = -random.randrange(2**53 + 1, 2**63) if far else -random.randrange(10**13, 10**14)
        if chat_id not in taken:
            return chat_id


def _spread(number: int, some: int, among: int) -> bool:
    """Whether this one is among `some` that are spread evenly."""
    return (number + 1) * some // among > number * some // among


def _members(random: Random, size: Size, rank: int, people: int) -> list[int]:
    """Without the bot, which is one of the number too."""
    wanted = max(3, size.largest // rank) - 1
    return [_person(number) for number in random.sample(range(people), wanted)]


def _person(number: int) -> int:
    return (FAR_USER if number % FAR_EVERY == 0 else FIRST_USER) + number


def _shared(random: Random, chat_id: int, kind: Kind, users: list[int]) -> Chat:
    channel = kind is Kind.CHANNEL
    members = {user_id: BEGINNING_MS + index for index, user_id in enumerate([BOT_ID, *users])}
    return Chat(
        chat_id,
        kind,
        title=f"{random.choice(TITLES)} {abs(chat_id) % 10_000}",
        owner_id=users[0],
        members=members,
        last_event_ms=BEGINNING_MS + random.randrange(10**8),
        nulls=random.random() < 0.5,
        public=channel,
        description="Описание чата" if random.random() < 0.3 else None,
        icon=random.random() < 0.3,
        link=f"https://max.ru/{'news' if channel else 'join'}/{abs(chat_id):x}",
        messages=random.randrange(1000),
    )


def _bot_state(random: Random, size: Size, chat: Chat) -> None:
    removed, not_admin = random.random() < size.removed, random.random() < size.not_admin
    if removed:
        del chat.members[BOT_ID]
        chat.status, chat.permissions = Status.REMOVED, None
    elif not_admin and chat.kind is Kind.CHAT:
        chat.permissions = None


def _dialog(random: Random, chat_id: int, people: int) -> Chat:
    companion = person(random, people)
    return Chat(
        chat_id,
        Kind.DIALOG,
        title=None,
        owner_id=companion,
        members={BOT_ID: BEGINNING_MS, companion: BEGINNING_MS + 1},
        last_event_ms=BEGINNING_MS + random.randrange(10**8),
        nulls=random.random() < 0.5,
        permissions=None,
    )
