"""What the owner of a webhook sees of the portal."""

from dataclasses import dataclass, field

from chatferry.simulators.bitrix24.errors import PortalError
from chatferry.simulators.bitrix24.model import PRIVATE, Chat, Portal, Webhook
from chatferry.simulators.bitrix24.params import as_int


@dataclass(slots=True)
class View:
    """The portal through one webhook. The order of chats is remembered until the portal changes."""

    portal: Portal
    webhook: Webhook
    _recent: list[Chat] = field(default_factory=list)
    _recent_revision: int = -1

    def sees(self, chat: Chat) -> bool:
        return self.webhook.all_seeing or self.webhook.user_id in chat.members

    def chat(self, chat_id: int | None) -> Chat:
        """Refused with ACCESS_ERROR when it is not there or not for these eyes: the portal does not tell which."""
        chat = self.portal.chats.get(chat_id) if chat_id is not None else None
        if chat is None or not self.sees(chat):
            raise PortalError("ACCESS_ERROR")
        return chat

    def dialog(self, dialog_id: object) -> Chat:
        """`chat12`, `sg7` for the chat of group 7, or a user id for the private dialog with that user."""
        if dialog_id in (None, "", 0, "0"):
            raise PortalError("DIALOG_ID_EMPTY")
        text = str(dialog_id)
        if text.startswith("chat"):
            return self.chat(as_int(text[4:]))
        if text.startswith("sg"):
            group_chat = self.portal.object_chat("SONET_GROUP", text[2:])
            return self.chat(group_chat.id if group_chat else None)
        partner = as_int(text)
        chat = None if partner is None else self.portal.private_chat(self.webhook.user_id, partner)
        if chat is None or not self.sees(chat):
            raise PortalError("ACCESS_ERROR")
        return chat

    def partner_id(self, chat: Chat) -> int | None:
        """The other one of a private dialog of the webhook's owner; None for every other chat."""
        if chat.message_type != PRIVATE or self.webhook.user_id not in chat.members:
            return None
        others = [user for user in chat.members if user != self.webhook.user_id]
        return others[0] if others else self.webhook.user_id

    def dialog_id(self, chat: Chat) -> str:
        partner = self.partner_id(chat)
        return f"chat{chat.id}" if partner is None else str(partner)

    def first_position(self, chat: Chat) -> int:
        """How many messages at the start of the chat are hidden from the owner."""
        first_id = chat.members.get(self.webhook.user_id, 0)
        return chat.log.before(first_id) if first_id else 0

    def unread_position(self, chat: Chat) -> int:
        """Position of the first unread message; the length of the log when all is read."""
        first_id = chat.unread_from.get(self.webhook.user_id)
        return len(chat.log) if first_id is None else chat.log.before(first_id)

    def recent(self) -> list[Chat]:
        """Chats of the recent list: pinned first, then the last active; hidden ones are missing."""
        if self._recent_revision != self.portal.revision:
            user = self.webhook.user_id
            chats = [chat for chat in self.portal.chats.values() if self.sees(chat) and user not in chat.hidden_by]
            chats.sort(key=lambda chat: (user in chat.pinned_by, chat.log.last_id, chat.id), reverse=True)
            self._recent, self._recent_revision = chats, self.portal.revision
        return self._recent
