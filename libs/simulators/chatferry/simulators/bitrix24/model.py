"""What a portal consists of. Changing anything here goes through Portal, so that views notice."""

from dataclasses import dataclass, field

from chatferry.simulators.bitrix24.messages import Message, MessageLog

PRIVATE, GROUP, OPEN, CHANNEL, OPENLINE, OBJECT = "P", "C", "O", "N", "L", "X"
"""`message_type` of a chat."""

ALL_SCOPES = ("im", "user", "disk", "department")


@dataclass(slots=True)
class User:
    id: int
    first_name: str
    last_name: str = ""
    email: str = ""
    active: bool = True
    bot: bool = False
    extranet: bool = False
    admin: bool = False
    listed: bool = True
    """False: user.get does not return this account at all."""
    work_position: str = ""
    gender: str = ""
    departments: tuple[int, ...] = (1,)
    registered_at: str = "2020-01-01T00:00:00+00:00"

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}" if self.last_name else self.first_name


@dataclass(slots=True)
class File:
    id: int
    chat_id: int
    author_id: int
    date: str
    name: str
    size: int


@dataclass(slots=True)
class Chat:
    id: int
    message_type: str
    created_at: str
    title: str = ""
    description: str = ""
    owner_id: int = 0
    manager_ids: tuple[int, ...] = ()
    entity_type: str = ""
    entity_id: str = ""
    general: bool = False
    """The chat of the whole company."""
    members: dict[int, int] = field(default_factory=dict)
    """User id to the id of the first message that user sees; 0: the whole history."""
    hidden_by: set[int] = field(default_factory=set)
    """Users who removed the chat from their recent list."""
    unread_from: dict[int, int] = field(default_factory=dict)
    """User id to the id of the first message that user has not read; absent: all is read."""
    pinned_by: set[int] = field(default_factory=set)
    log: MessageLog = field(default_factory=MessageLog)


@dataclass(frozen=True, slots=True)
class Webhook:
    user_id: int
    secret: str = field(repr=False)
    scopes: tuple[str, ...] = ALL_SCOPES
    all_seeing: bool = False
    """Sees every chat without being a member of any."""

    @property
    def key(self) -> str:
        return f"{self.user_id}/{self.secret}"


class Portal:
    """State of one portal, in memory. `revision` grows with every change."""

    def __init__(self) -> None:
        self.users: dict[int, User] = {}
        self.chats: dict[int, Chat] = {}
        self.files: dict[int, File] = {}
        self.webhooks: dict[str, Webhook] = {}
        self.revision = 0
        self.users_revision = 0
        self.last_message_id = 0
        self._private: dict[tuple[int, int], int] = {}
        self._objects: dict[tuple[str, str], int] = {}

    def put_user(self, user: User) -> None:
        """Adds a user or replaces the one with that id."""
        self.users[user.id] = user
        self.users_revision += 1
        self.revision += 1

    def add_chat(self, chat: Chat) -> None:
        self.chats[chat.id] = chat
        if chat.message_type == PRIVATE:
            self._private[self._pair(chat)] = chat.id
        if chat.entity_type:
            self._objects.setdefault((chat.entity_type, chat.entity_id), chat.id)
        self.revision += 1

    def remove_chat(self, chat_id: int) -> None:
        """The chat is gone with all that was in it; raises KeyError when there is none."""
        chat = self.chats.pop(chat_id)
        if chat.message_type == PRIVATE:
            self._private.pop(self._pair(chat), None)
        self._objects = {pair: known for pair, known in self._objects.items() if known != chat_id}
        self.revision += 1

    def put_message(self, message: Message) -> None:
        self.chats[message.chat_id].log.put(message)
        self.last_message_id = max(self.last_message_id, message.id)
        self.revision += 1

    def remove_message(self, chat_id: int, message_id: int) -> None:
        """Raises KeyError when there is no such chat or message."""
        self.chats[chat_id].log.remove(message_id)
        self.revision += 1

    def add_file(self, file: File) -> None:
        self.files[file.id] = file

    def add_webhook(self, webhook: Webhook) -> Webhook:
        """Raises ValueError when the portal has no such user."""
        if webhook.user_id not in self.users:
            raise ValueError(f"no webhook for user {webhook.user_id}: the portal has no such user")
        self.webhooks[webhook.key] = webhook
        return webhook

    def changed(self) -> None:
        """To be called after a chat was changed directly."""
        self.revision += 1

    def private_chat(self, one: int, other: int) -> Chat | None:
        chat_id = self._private.get((min(one, other), max(one, other)))
        return None if chat_id is None else self.chats[chat_id]

    def object_chat(self, entity_type: str, entity_id: str) -> Chat | None:
        chat_id = self._objects.get((entity_type, entity_id))
        return None if chat_id is None else self.chats[chat_id]

    def count_messages(self) -> int:
        return sum(len(chat.log) for chat in self.chats.values())

    @staticmethod
    def _pair(chat: Chat) -> tuple[int, int]:
        return min(chat.members), max(chat.members)
