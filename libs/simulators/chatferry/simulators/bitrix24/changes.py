"""What people do on a portal while it is read: write, edit, delete, come and go."""

from dataclasses import replace

from chatferry.simulators.bitrix24.envelope import Stamp
from chatferry.simulators.bitrix24.messages import DELETED_TEXT, Message
from chatferry.simulators.bitrix24.model import GROUP, PRIVATE, Chat, Portal
from chatferry.simulators.clock import Clock
from chatferry.simulators.controls import UnknownError


class Changes:
    """Every method takes effect at once and raises UnknownError for what is not there. New dates are the portal's."""

    def __init__(self, portal: Portal, clock: Clock, stamp: Stamp) -> None:
        self._portal = portal
        self._clock = clock
        self._stamp = stamp

    def post(self, chat_id: int, author_id: int, text: str, reply_to: int | None = None) -> int:
        """The id of the new message, above all others. `author_id` 0: a system message."""
        self._chat(chat_id)
        if author_id and author_id not in self._portal.users:
            raise UnknownError(f"there is no user {author_id}")
        message_id = self._portal.last_message_id + 1
        self._portal.put_message(Message(message_id, chat_id, author_id, self._now(), text, reply_to=reply_to))
        return message_id

    def edit(self, chat_id: int, message_id: int, text: str) -> None:
        self._portal.put_message(replace(self._message(chat_id, message_id), text=text, edited=True))

    def like(self, chat_id: int, message_id: int, user_id: int) -> None:
        message = self._message(chat_id, message_id)
        self._portal.put_message(replace(message, likes=tuple(sorted({*message.likes, user_id}))))

    def delete(self, chat_id: int, message_id: int) -> None:
        """A placeholder stays, with IS_DELETED."""
        message = self._message(chat_id, message_id)
        self._portal.put_message(replace(message, text=DELETED_TEXT, deleted=True))

    def erase(self, chat_id: int, message_id: int) -> None:
        """Nothing stays: the id is gone, the chat counts one message less."""
        self._message(chat_id, message_id)
        self._portal.remove_message(chat_id, message_id)

    def add_member(self, chat_id: int, user_id: int, *, hide_history: bool = False) -> None:
        chat = self._chat(chat_id)
        if user_id not in self._portal.users:
            raise UnknownError(f"there is no user {user_id}")
        if chat.message_type == PRIVATE:
            raise ValueError(f"chat {chat_id} is private: it has two members")
        chat.members[user_id] = self._portal.last_message_id + 1 if hide_history else 0
        self._portal.changed()

    def remove_member(self, chat_id: int, user_id: int) -> None:
        """Raises ValueError for a private chat, which nobody can leave."""
        chat = self._chat(chat_id)
        if chat.message_type == PRIVATE:
            raise ValueError(f"chat {chat_id} is private: its two members stay")
        if chat.members.pop(user_id, None) is None:
            raise UnknownError(f"user {user_id} is not a member of chat {chat_id}")
        self._portal.changed()

    def new_chat(self, title: str, owner_id: int, member_ids: list[int], message_type: str = GROUP) -> int:
        """The id of the new chat. A private one (type P) has exactly two members and no title."""
        members = dict.fromkeys([owner_id, *member_ids], 0)
        for user_id in members:
            if user_id not in self._portal.users:
                raise UnknownError(f"there is no user {user_id}")
        if message_type == PRIVATE and len(members) != 2:
            raise ValueError(f"a private chat has two members, not {len(members)}")
        chat_id = max(self._portal.chats, default=0) + 1
        self._portal.add_chat(Chat(chat_id, message_type, self._now(), title, owner_id=owner_id, members=members))
        return chat_id

    def rename_chat(self, chat_id: int, title: str) -> None:
        self._chat(chat_id).title = title
        self._portal.changed()

    def remove_chat(self, chat_id: int) -> None:
        """The chat vanishes: whoever asks for it gets ACCESS_ERROR from now on."""
        self._chat(chat_id)
        self._portal.remove_chat(chat_id)

    def hide_chat(self, chat_id: int, user_id: int) -> None:
        """As `im.recent.hide`: it is missing in that user's recent list and nowhere else."""
        self._chat(chat_id).hidden_by.add(user_id)
        self._portal.changed()

    def dismiss(self, user_id: int) -> None:
        """The user stays a member and an author, and is not active any more."""
        user = self._portal.users.get(user_id)
        if user is None:
            raise UnknownError(f"there is no user {user_id}")
        self._portal.put_user(replace(user, active=False))

    def _chat(self, chat_id: int) -> Chat:
        chat = self._portal.chats.get(chat_id)
        if chat is None:
            raise UnknownError(f"there is no chat {chat_id}")
        return chat

    def _message(self, chat_id: int, message_id: int) -> Message:
        try:
            return self._chat(chat_id).log.message(message_id)
        except KeyError:
            raise UnknownError(f"there is no message {message_id} in chat {chat_id}") from None

    def _now(self) -> str:
        return self._stamp.iso(self._clock())
