"""The platform's chats and who is in them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

BOT_ID: Final = 229_229_229

BOT_PERMISSIONS: Final = (
    "read_all_messages",
    "add_remove_members",
    "add_admins",
    "change_chat_info",
    "pin_message",
    "edit_link",
    "write",
    "can_call",
)
OWNER_PERMISSIONS: Final = (*BOT_PERMISSIONS, "edit", "delete", "view_stats")


class Kind(StrEnum):
    CHAT = "chat"
    CHANNEL = "channel"
    DIALOG = "dialog"


class Status(StrEnum):
    """What the bot is to the chat."""

    ACTIVE = "active"
    REMOVED = "removed"
    LEFT = "left"
    CLOSED = "closed"


@dataclass(slots=True)
class Chat:
    """`members`: user id -> time of joining in ms, unique within the chat, in that order, the bot included."""

    id: int
    kind: Kind
    title: str | None
    owner_id: int
    members: dict[int, int]
    last_event_ms: int
    nulls: bool = False
    """Nothing is spelled null instead of left out."""
    public: bool = False
    description: str | None = None
    icon: bool = False
    link: str | None = None
    messages: int = 0
    status: Status = Status.ACTIVE
    permissions: tuple[str, ...] | None = BOT_PERMISSIONS
    """The bot's; None: it is no administrator."""
    bots: set[int] = field(default_factory=set)
    """Members that are bots, other than ours."""

    @property
    def has_bot(self) -> bool:
        return BOT_ID in self.members

    @property
    def count(self) -> int:
        return len(self.members)

    @property
    def heard(self) -> bool:
        """Whether the bot gets the chat's events: it is there, and reads all as an administrator."""
        if self.kind is Kind.DIALOG:
            return self.has_bot
        return self.has_bot and self.permissions is not None and "read_all_messages" in self.permissions

    def join(self, user_id: int, at_ms: int) -> None:
        """After all others, even those who joined in the same millisecond."""
        newest = next(reversed(self.members.values()), 0)
        self.members[user_id] = max(at_ms, newest + 1)

    def guests(self) -> Iterator[int]:
        """Those who may be removed: neither the owner nor the bot."""
        return (user_id for user_id in self.members if user_id not in (self.owner_id, BOT_ID))


@dataclass(frozen=True, slots=True)
class Platform:
    chats: dict[int, Chat]
    users: int
    """How many people there are to draw from."""

    def shared(self) -> list[Chat]:
        """Groups and channels with the bot: those whose count can move before its eyes."""
        return [chat for chat in self.chats.values() if chat.has_bot and chat.kind is not Kind.DIALOG]
