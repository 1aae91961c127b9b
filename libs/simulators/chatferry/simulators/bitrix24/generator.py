"""A portal from a seed: the same settings give the same portal, to the byte."""

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from itertools import accumulate, pairwise
from random import Random

from chatferry.simulators.bitrix24 import texts
from chatferry.simulators.bitrix24.errors import PortalDataError
from chatferry.simulators.bitrix24.loader import add_owner
from chatferry.simulators.bitrix24.model import CHANNEL, GROUP, OBJECT, OPEN, PRIVATE, Chat, Portal, User
from chatferry.simulators.bitrix24.writer import MessageWriter, OddData

FIRST_MESSAGE_ID = 1001
DEFAULT_START = datetime(2023, 1, 9, 6, 0, tzinfo=UTC)

_TYPES = (PRIVATE, GROUP, OPEN, CHANNEL, OBJECT)
_TYPE_WEIGHTS = tuple(accumulate((30, 45, 8, 7, 10)))
_OBJECTS = (("TASKS_TASK", "{}"), ("CRM", "DEAL|{}"), ("SONET_GROUP", "{}"), ("CALENDAR", "{}"))


@dataclass(frozen=True, slots=True)
class GeneratorSettings:
    """Shares are parts of one. `users` counts every account: employees, dismissed ones, extranet users and bots."""

    seed: int = 1
    users: int = 60
    chats: int = 40
    messages: int = 2000
    zipf: float = 1.1
    """How much larger the large chats are: the size of the n-th is proportional to 1 / n^zipf."""
    dismissed_share: float = 0.15
    extranet_share: float = 0.05
    bot_share: float = 0.04
    hidden_history_share: float = 0.0
    """Chats in which every third member sees messages from the middle on only."""
    hidden_recent_share: float = 0.0
    """Chats that every third member, and the owner account, has removed from the recent list."""
    unread_share: float = 0.0
    """Chats with unread messages, up to 120, for everybody."""
    odd: OddData = field(default_factory=OddData)
    start_at: datetime = DEFAULT_START
    seconds_apart: float = 90.0
    """Mean time between two messages of the portal."""
    utc_offset_minutes: int = 180


def generate(settings: GeneratorSettings) -> Portal:
    """Raises PortalDataError for numbers that make no portal. The owner account is added as for a folder."""
    if settings.users < 2 or settings.chats < 1 or settings.messages < 0:
        raise PortalDataError("a generated portal needs at least 2 users, 1 chat and 0 messages")
    random = Random(settings.seed)  # noqa: S311 data for tests, not secrets
    portal = Portal()
    _add_users(portal, settings, random)
    _add_chats(portal, settings, random)
    owner = add_owner(portal)
    writer = MessageWriter(portal, settings.odd, settings.messages, random)
    _add_messages(writer, settings, random)
    _add_habits(portal, settings, owner.id, random)
    return portal


def _add_users(portal: Portal, settings: GeneratorSettings, random: Random) -> None:
    """The first two are active employees, the first an administrator. Ids have holes, as real ones do."""
    for index in range(settings.users):
        (first, gender), last = random.choice(texts.FIRST_NAMES), random.choice(texts.LAST_NAMES)
        luck = random.random() if index > 1 else 1.0
        bot = luck < settings.bot_share or index == 6
        extranet = not bot and luck < settings.bot_share + settings.extranet_share
        dismissed = not bot and not extranet and random.random() < settings.dismissed_share and index > 1
        user_id = 1 + 2 * index
        portal.put_user(
            User(
                id=user_id,
                first_name=f"Бот {index}" if bot else first,
                last_name="" if bot else last,
                email="" if bot else f"user{user_id}@example.com",
                active=not dismissed and index != 3,
                bot=bot,
                extranet=extranet,
                admin=index == 0,
                work_position="" if bot else random.choice(texts.POSITIONS),
                gender="" if bot else gender,
                departments=(1 + index % 7,),
                registered_at=_date(settings, 0),
            )
        )


def _add_chats(portal: Portal, settings: GeneratorSettings, random: Random) -> None:
    """The first is the chat of the whole company, the second a private dialog, where there are more than two."""
    employees = [user.id for user in portal.users.values() if not user.bot and not user.extranet]
    pairs: set[tuple[int, ...]] = set()
    for index in range(settings.chats):
        chat_id = 11 + 2 * index
        created_at = _date(settings, index)
        if index == 0 and settings.chats > 2:
            members = dict.fromkeys(employees, 0)
            portal.add_chat(Chat(chat_id, OPEN, created_at, "Общий чат", owner_id=1, general=True, members=members))
            continue
        kind = _TYPES[bisect_right(_TYPE_WEIGHTS, random.random() * _TYPE_WEIGHTS[-1])]
        pair = tuple(employees[:2] if index == 1 else sorted(random.sample(employees, 2)))
        if (kind == PRIVATE or index == 1) and pair not in pairs:
            pairs.add(pair)
            portal.add_chat(Chat(chat_id, PRIVATE, created_at, owner_id=pair[0], members=dict.fromkeys(pair, 0)))
            continue
        portal.add_chat(_group(portal, random, chat_id, GROUP if kind == PRIVATE else kind, created_at))


def _group(portal: Portal, random: Random, chat_id: int, kind: str, created_at: str) -> Chat:
    everybody = list(portal.users)
    size = min(len(everybody), 2 + int(random.paretovariate(1.2)))
    members = random.sample(everybody, size)
    humans = [user for user in members if not portal.users[user].bot] or [everybody[0]]
    entity_type, pattern = random.choice(_OBJECTS) if kind == OBJECT else ("", "")
    return Chat(
        id=chat_id,
        message_type=kind,
        created_at=created_at,
        title=f"{random.choice(texts.TITLES)} {chat_id}",
        description=random.choice(("", "", "Только по делу")),
        owner_id=humans[0],
        manager_ids=tuple(humans[:1] if random.random() < 0.5 else humans[:2]),
        entity_type=entity_type,
        entity_id=pattern.format(chat_id * 3),
        members=dict.fromkeys([humans[0], *members], 0),
    )


def _add_messages(writer: MessageWriter, settings: GeneratorSettings, random: Random) -> None:
    """Messages of all chats in one order of ids and dates, as a portal numbers them."""
    chats = list(writer.portal.chats.values())
    turns = array("L")
    for chat_index, size in zip(random.sample(range(len(chats)), len(chats)), _zipf_sizes(settings), strict=True):
        turns.extend([chat_index] * size)
    random.shuffle(turns)
    for index, chat_index in enumerate(turns):
        writer.write(chats[chat_index], FIRST_MESSAGE_ID + 2 * index, _date(settings, index))


def _zipf_sizes(settings: GeneratorSettings) -> list[int]:
    """Largest first; they add up to the number of messages."""
    sums = list(accumulate(1 / (rank + 1) ** settings.zipf for rank in range(settings.chats)))
    ends = [round(settings.messages * part / sums[-1]) for part in sums]
    return [end - start for start, end in pairwise([0, *ends])]


def _add_habits(portal: Portal, settings: GeneratorSettings, owner_id: int, random: Random) -> None:
    for chat in portal.chats.values():
        some = [user for user in chat.members if user % 3 == 0]
        if random.random() < settings.hidden_history_share and len(chat.log):
            chat.members.update(dict.fromkeys(some, chat.log.ids[len(chat.log) // 2]))
        if random.random() < settings.hidden_recent_share:
            chat.hidden_by.update(some, (owner_id,))
        if random.random() < settings.unread_share and len(chat.log):
            unread = min(random.randint(1, 120), len(chat.log))
            chat.unread_from = dict.fromkeys([*chat.members, owner_id], chat.log.ids[-unread])
    portal.changed()


def _date(settings: GeneratorSettings, index: int) -> str:
    zone = timezone(timedelta(minutes=settings.utc_offset_minutes))
    seconds = settings.start_at.timestamp() + index * settings.seconds_apart
    return datetime.fromtimestamp(int(seconds), zone).isoformat()
