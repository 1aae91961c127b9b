"""What happens in chats: each method is a verb of the control interface, and sends the event that the platform would.

Times are the clock's. Where the bot is no administrator that reads all, nothing is sent but what concerns the bot.
All raise UnknownError for a chat or a person that is not there, ValueError for what cannot happen.
"""

from random import Random

from chatferry.simulators.controls import UnknownError
from chatferry.simulators.max.generator import new_chat_id, person
from chatferry.simulators.max.history import History
from chatferry.simulators.max.model import BOT_ID, BOT_PERMISSIONS, Chat, Kind, Platform, Status
from chatferry.simulators.max.outbox import Outbox
from chatferry.simulators.max.updates import Update, Wording


class Changes:
    def __init__(self, platform: Platform, history: History, outbox: Outbox, words: Wording, random: Random) -> None:
        self._platform = platform
        self._history = history
        self._outbox = outbox
        self._words = words
        self._random = random

    def add_user(
        self,
        chat_id: int,
        user_id: int | None = None,
        inviter_id: int | None = None,
        silent: bool = False,
        bot: bool = False,
    ) -> int:
        """The id of who came: somebody drawn where none is given; without an inviter they came by the link."""
        chat = self._shared(chat_id)
        who = self._outsider(chat) if user_id is None else user_id
        if who in chat.members:
            raise ValueError(f"user {who} is in chat {chat_id} already")
        if bot:
            chat.bots.add(who)
        chat.join(who, self._words.now_ms())
        self._count_moved(chat, None if silent else self._words.user_added(chat, who, inviter_id))
        return who

    def remove_user(
        self, chat_id: int, user_id: int | None = None, admin_id: int | None = None, silent: bool = False
    ) -> int:
        """The id of who went: somebody drawn where none is given; without an administrator they left by themselves."""
        chat = self._shared(chat_id)
        who = self._guest(chat) if user_id is None else user_id
        if who not in chat.members or who == BOT_ID:
            raise UnknownError(f"there is no user {who} in chat {chat_id}")
        update = None if silent else self._words.user_removed(chat, who, admin_id)
        del chat.members[who]
        chat.bots.discard(who)
        self._count_moved(chat, update)
        return who

    def move_silently(self, chat_id: int, by: int) -> int:
        """The count goes up or down without an event; the new one. Nobody goes whom the chat needs."""
        chat = self._shared(chat_id)
        for _ in range(abs(by)):
            if by > 0:
                self.add_user(chat_id, silent=True)
            else:
                self.remove_user(chat_id, silent=True)
        return chat.count

    def add_bot(self, chat_id: int, admin: bool = True) -> None:
        chat = self._chat(chat_id)
        if chat.has_bot:
            raise ValueError(f"the bot is in chat {chat_id} already")
        chat.status = Status.ACTIVE
        chat.permissions = BOT_PERMISSIONS if admin and chat.kind is not Kind.DIALOG else None
        chat.join(BOT_ID, self._words.now_ms())
        self._history.note(chat)
        self._happened(chat)
        self._outbox.emit(self._words.bot_came_or_went("bot_added", chat))

    def remove_bot(self, chat_id: int, status: Status = Status.REMOVED) -> None:
        """`status`: what reads say from now on, one of removed, left, closed."""
        chat, status = self._chat(chat_id), Status(status)
        if not chat.has_bot or status is Status.ACTIVE:
            raise ValueError(f"the bot cannot be removed from chat {chat_id} with status {status.value}")
        del chat.members[BOT_ID]
        chat.status, chat.permissions = status, None
        self._history.note(chat)
        self._happened(chat)
        self._outbox.emit(self._words.bot_came_or_went("bot_removed", chat))

    def set_admin(self, chat_id: int, admin: bool, reads_all: bool = True) -> None:
        """The bot's right; without `reads_all` it is an administrator that gets no events."""
        chat = self._shared(chat_id)
        rights = tuple(name for name in BOT_PERMISSIONS if reads_all or name != "read_all_messages")
        chat.permissions = rights if admin else None
        self._happened(chat)
        self._outbox.emit(self._words.permissions_changed(chat))

    def rename(self, chat_id: int, title: str) -> None:
        chat = self._shared(chat_id)
        chat.title = title
        self._happened(chat)
        self._tell(chat, self._words.title_changed(chat))

    def post(self, chat_id: int, author_id: int | None = None) -> None:
        """A message: proof that the chat is alive, and no change of its count."""
        chat = self._chat(chat_id)
        chat.messages += 1
        self._happened(chat)
        self._tell(chat, self._words.message(chat, chat.owner_id if author_id is None else author_id))

    def start_dialog(self, chat_id: int) -> None:
        self._dialog(chat_id, "bot_started")

    def stop_dialog(self, chat_id: int) -> None:
        self._dialog(chat_id, "bot_stopped")

    def new_chat(self, kind: Kind = Kind.CHAT, members: int = 3, admin: bool = True) -> int:
        """A chat of so many that the bot is added to at its end; its id."""
        kind = Kind(kind)
        if kind is Kind.DIALOG or members < 2:
            raise ValueError("a new chat is a chat or a channel of 2 members or more, the bot included")
        chat_id = new_chat_id(self._random, self._platform.chats, kind, far=self._random.random() < 0.1)
        now_ms = self._words.now_ms()
        owner = person(self._random, self._platform.users)
        chat = Chat(chat_id, kind, f"Новый чат {abs(chat_id) % 10_000}", owner, {owner: now_ms}, now_ms)
        self._platform.chats[chat_id] = chat
        for _ in range(members - 2):
            chat.join(self._outsider(chat), now_ms)
        self.add_bot(chat_id, admin)
        return chat_id

    def announce(self) -> int:
        """bot_added of every group and channel with the bot, as if it came just now; how many."""
        chats = self._platform.shared()
        for chat in chats:
            self._outbox.emit(self._words.bot_came_or_went("bot_added", chat))
        return len(chats)

    def send(self, update: dict[str, object]) -> None:
        """Any body at all, as an event that nothing in the platform stands behind."""
        if not isinstance(update.get("update_type"), str):
            raise ValueError("update must have an update_type, a string")
        self._outbox.emit(update)

    def _count_moved(self, chat: Chat, update: Update | None) -> None:
        self._history.note(chat)
        self._happened(chat)
        changes = self._history.changes
        changes["total"] += 1
        changes["silent" if update is None else "told" if chat.heard else "unheard"] += 1
        if update is not None:
            self._tell(chat, update)

    def _tell(self, chat: Chat, update: Update) -> None:
        if not chat.heard:
            return
        if self._random.random() < self._words.live.now.delivery.unknown_types:
            self._outbox.emit(self._words.unknown_type(chat))
        self._outbox.emit(update)

    def _happened(self, chat: Chat) -> None:
        chat.last_event_ms = self._words.now_ms()

    def _dialog(self, chat_id: int, update_type: str) -> None:
        chat = self._chat(chat_id)
        if chat.kind is not Kind.DIALOG:
            raise ValueError(f"chat {chat_id} is no dialog")
        self._happened(chat)
        self._outbox.emit(self._words.dialog(update_type, chat))

    def _outsider(self, chat: Chat) -> int:
        for _ in range(1000):
            who = person(self._random, self._platform.users)
            if who not in chat.members:
                return who
        raise ValueError(f"everybody is in chat {chat.id} already")

    def _guest(self, chat: Chat) -> int:
        guests = list(chat.guests())
        if not guests:
            raise ValueError(f"nobody may be removed from chat {chat.id}: there are only its owner and the bot")
        return self._random.choice(guests)

    def _chat(self, chat_id: int) -> Chat:
        chat = self._platform.chats.get(chat_id)
        if chat is None:
            raise UnknownError(f"there is no chat {chat_id}")
        return chat

    def _shared(self, chat_id: int) -> Chat:
        chat = self._chat(chat_id)
        if chat.kind is Kind.DIALOG:
            raise ValueError(f"chat {chat_id} is a dialog: two people for ever")
        return chat
