"""What goes on by itself: a seeded stream of changes, a share of the chats each minute of the clock."""

from collections import Counter
from collections.abc import Callable
from random import Random

from chatferry.simulators.max.changes import Changes
from chatferry.simulators.max.model import Chat, Kind, Platform
from chatferry.simulators.max.settings import Live
from chatferry.simulators.max.timetable import Timetable

SMALLEST = 3
"""Below this nobody goes by the script."""
TRIES = 50


class ScriptRunner:
    """`step` makes one change, `say` one message; while it runs they come at random moments, at the set rate.

    The same seed makes the same changes of the same platform, as long as nobody else changes it.
    """

    def __init__(self, platform: Platform, changes: Changes, live: Live, timetable: Timetable, seed: int | str) -> None:
        self.done: Counter[str] = Counter()
        self.running = False
        self._platform = platform
        self._changes = changes
        self._live = live
        self._timetable = timetable
        self._random = Random(f"{seed}:script")  # noqa: S311 repeatable changes, not secrets
        self._moments = Random(f"{seed}:moments")  # noqa: S311 repeatable changes, not secrets
        self._generation = 0
        self._shared: list[Chat] = []
        self._known = -1
        self._without_admin: list[Chat] = []
        self._without_bot: list[Chat] = []

    def resume(self) -> None:
        """From now on, at the rates of the settings in force; also to be called when they have changed."""
        self.running = True
        self._generation += 1
        self._plan(lambda: self._live.now.script.changes_per_minute, self.step)
        self._plan(lambda: self._live.now.script.messages_per_minute, self.say)

    def pause(self) -> None:
        """Nothing moves by itself any more; nothing is caught up later."""
        self.running = False
        self._generation += 1

    def step(self) -> None:
        """One change; nothing where no chat can change."""
        chat = self._pick()
        if chat is None:
            return
        rules, luck = self._live.now.script, self._random.random()
        if luck < rules.bot:
            self._move_bot(chat)
        elif luck < rules.bot + rules.admin:
            self._move_right(chat)
        elif luck < rules.bot + rules.admin + rules.rename:
            self._changes.rename(chat.id, f"Чат {self._random.randrange(10**6)}")
            self.done["rename"] += 1
        else:
            self._move_user(chat, silent=self._random.random() < rules.silent)

    def say(self) -> None:
        chat = self._pick()
        if chat is not None:
            self._changes.post(chat.id)
            self.done["message"] += 1

    def _plan(self, rate: Callable[[], float], act: Callable[[], None]) -> None:
        generation = self._generation

        def due(moment: float) -> None:
            if generation == self._generation:
                act()
                plan(moment)

        def plan(last: float) -> None:
            """Counted from the last moment as it was planned, so that a busy machine slows nothing down."""
            per_second = rate() * len(self._chats()) / 60
            if per_second > 0:
                moment = last + self._moments.expovariate(per_second)
                self._timetable.at(moment, lambda: due(moment))

        plan(self._timetable.now())

    def _chats(self) -> list[Chat]:
        if self._known != len(self._platform.chats):
            self._known = len(self._platform.chats)
            self._shared = [chat for chat in self._platform.chats.values() if chat.kind is not Kind.DIALOG]
        return self._shared

    def _pick(self) -> Chat | None:
        chats = self._chats()
        for _ in range(TRIES if chats else 0):
            chat = self._random.choice(chats)
            if chat.has_bot:
                return chat
        return None

    def _move_user(self, chat: Chat, silent: bool) -> None:
        alone = self._random.random() < 0.5
        if chat.count > SMALLEST and self._random.random() < 0.5:
            self._changes.remove_user(chat.id, admin_id=None if alone else chat.owner_id, silent=silent)
            self.done["remove_user"] += 1
        else:
            self._changes.add_user(chat.id, inviter_id=None if alone else chat.owner_id, silent=silent)
            self.done["add_user"] += 1

    def _move_right(self, chat: Chat) -> None:
        """Taken from this chat, or given back to one that lost it before."""
        if self._without_admin and self._random.random() < 0.5:
            lost = self._without_admin.pop(self._random.randrange(len(self._without_admin)))
            if lost.has_bot:
                self._changes.set_admin(lost.id, True)
                self.done["give_admin"] += 1
        elif chat.permissions is not None and chat.kind is Kind.CHAT:
            self._changes.set_admin(chat.id, False)
            self._without_admin.append(chat)
            self.done["take_admin"] += 1

    def _move_bot(self, chat: Chat) -> None:
        """Removed from this chat, or added to one that it was removed from before."""
        if self._without_bot and self._random.random() < 0.5:
            lost = self._without_bot.pop(self._random.randrange(len(self._without_bot)))
            if not lost.has_bot:
                self._changes.add_bot(lost.id)
                self.done["add_bot"] += 1
        else:
            self._changes.remove_bot(chat.id)
            self._without_bot.append(chat)
            self.done["remove_bot"] += 1
