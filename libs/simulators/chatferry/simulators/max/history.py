"""What every count was and when it moved, for judges that must not believe anybody else."""

from collections import Counter
from collections.abc import Iterable

from chatferry.simulators.clock import Clock
from chatferry.simulators.max.model import Chat, Kind

Step = tuple[int, int | None]
"""From this ms of the clock on the count was this; None: the bot could not see it."""


class History:
    """Of groups, channels and dialogs alike. `changes` counts the moves of counts by what became of their events."""

    def __init__(self, chats: Iterable[Chat], clock: Clock) -> None:
        self._clock = clock
        self._steps: dict[int, list[Step]] = {}
        self.changes: Counter[str] = Counter(total=0, told=0, silent=0, unheard=0)
        for chat in chats:
            self.note(chat)

    def note(self, chat: Chat) -> None:
        """The chat's count is what it is from now on."""
        count = visible(chat)
        steps = self._steps.setdefault(chat.id, [])
        if not steps or steps[-1][1] != count:
            steps.append((int(self._clock() * 1000), count))

    def steps(self, chat_id: int | None = None, since_ms: int = 0) -> dict[int, list[Step]]:
        """By chat, ascending; the step that was in force at `since_ms` is the first one."""
        wanted = self._steps if chat_id is None else {chat_id: self._steps.get(chat_id, [])}
        return {chat: steps[_in_force(steps, since_ms) :] for chat, steps in wanted.items()}


def visible(chat: Chat) -> int | None:
    """The true count, where the bot is there to see it."""
    if chat.kind is Kind.DIALOG:
        return 2
    return chat.count if chat.has_bot else None


def _in_force(steps: list[Step], at_ms: int) -> int:
    for index in range(len(steps) - 1, 0, -1):
        if steps[index][0] <= at_ms:
            return index
    return 0
