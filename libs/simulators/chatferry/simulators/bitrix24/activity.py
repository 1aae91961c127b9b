"""Background activity: a seeded stream of changes at a given rate, for as long as it is wanted."""

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

from chatferry.simulators.bitrix24.changes import Changes
from chatferry.simulators.bitrix24.model import PRIVATE, Chat, Portal

TICK_S = 0.05


class Activity:
    """`step` makes one change; `run` makes `rate_per_s` of them every real second until it is cancelled.

    Mostly new messages, then edits, likes, placeholders of deleted messages, erased messages, members who come and go,
    now and then a new chat. The same seed makes the same changes of the same portal.
    """

    def __init__(self, portal: Portal, changes: Changes, random: Random) -> None:
        self.done: Counter[str] = Counter()
        self._portal = portal
        self._changes = changes
        self._random = random
        self._steps: tuple[tuple[float, str, Callable[[Chat], bool]], ...] = (
            (0.70, "post", self._post),
            (0.80, "edit", self._edit),
            (0.85, "like", self._like),
            (0.90, "delete", self._delete),
            (0.94, "erase", self._erase),
            (0.97, "member", self._member),
            (1.00, "new_chat", self._new_chat),
        )

    async def run(self, rate_per_s: float) -> None:
        clock = asyncio.get_running_loop().time
        began, made = clock(), 0
        while True:
            await asyncio.sleep(TICK_S)
            due = int((clock() - began) * rate_per_s)
            for _ in range(due - made):
                self.step()
            made = max(due, made)

    def step(self) -> None:
        """One change, or a new message where the drawn change is not possible. Nothing when there are no chats."""
        if not self._portal.chats:
            return
        chat = self._random.choice(list(self._portal.chats.values()))
        luck = self._random.random()
        name, act = next((name, act) for limit, name, act in self._steps if luck <= limit)
        if not act(chat):
            name = "post"
            self._post(chat)
        self.done[name] += 1

    def _post(self, chat: Chat) -> bool:
        author_id = self._random.choice(list(chat.members) or [0])
        reply_to = chat.log.last_id if self._random.random() < 0.2 and len(chat.log) else None
        self._changes.post(chat.id, author_id, f"Новое сообщение № {self._random.randrange(10**6)}", reply_to)
        return True

    def _some_message(self, chat: Chat) -> int | None:
        """One that is neither deleted nor a system message; None after a few misses."""
        for _ in range(5 if len(chat.log) else 0):
            position = self._random.randrange(len(chat.log))
            fields = chat.log.fields(position)
            if fields.get("author_id") and "IS_DELETED" not in (fields["params"] or {}):
                return chat.log.ids[position]
        return None

    def _edit(self, chat: Chat) -> bool:
        message_id = self._some_message(chat)
        if message_id is None:
            return False
        self._changes.edit(chat.id, message_id, f"Исправлено {self._random.randrange(10**6)}")
        return True

    def _like(self, chat: Chat) -> bool:
        message_id = self._some_message(chat)
        if message_id is None or not chat.members:
            return False
        self._changes.like(chat.id, message_id, self._random.choice(list(chat.members)))
        return True

    def _delete(self, chat: Chat) -> bool:
        message_id = self._some_message(chat)
        if message_id is None:
            return False
        self._changes.delete(chat.id, message_id)
        return True

    def _erase(self, chat: Chat) -> bool:
        message_id = self._some_message(chat)
        if message_id is None:
            return False
        self._changes.erase(chat.id, message_id)
        return True

    def _member(self, chat: Chat) -> bool:
        if chat.message_type == PRIVATE or chat.general:
            return False
        outside = [user.id for user in self._portal.users.values() if user.id not in chat.members and user.listed]
        if outside and self._random.random() < 0.6:
            self._changes.add_member(chat.id, self._random.choice(outside))
            return True
        guests = [user for user in chat.members if user != chat.owner_id]
        if not guests:
            return False
        self._changes.remove_member(chat.id, self._random.choice(guests))
        return True

    def _new_chat(self, chat: Chat) -> bool:
        if not chat.members:
            return False
        members = list(chat.members)
        new_id = self._changes.new_chat(f"Новый чат {self._random.randrange(10**6)}", members[0], members[:5])
        self._changes.post(new_id, members[0], "Первое сообщение")
        return True
