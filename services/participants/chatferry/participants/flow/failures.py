"""What failed reads bring about: a rest for MAX, and patience with single chats."""

from __future__ import annotations

from dataclasses import dataclass, field

from chatferry.participants.domain.counts import ChatId

FIRST_AGAIN_S = 0.5
_LONGEST_AGAIN_S = 300.0
_IN_A_ROW = 5
_FIRST_REST_S, _LONGEST_REST_S = 1.0, 30.0
# What failed while MAX was away is no fault of the chat's.
_SOON_S = 30.0
# What is wanted anew so long after it was to be tried again was not wanted meanwhile.
_LATEST_TRY_S = 10.0


@dataclass(slots=True)
class Rest:
    """After MAX has failed several times in a row nothing is asked for a while, then one read to see. What fails
    meanwhile was under way already, and makes the while no longer."""

    failures: int = 0
    until: float = 0.0
    wait_s: float = _FIRST_REST_S

    @property
    def looking(self) -> bool:
        """Whether MAX has failed so often that one read at a time looks for it."""
        return self.failures >= _IN_A_ROW

    def failed(self, now: float, *, at_once: float | None = None) -> None:
        self.failures += 1
        if at_once is not None:
            self.until = now + at_once
        elif self.looking and now >= self.until:
            self.until, self.wait_s = now + self.wait_s, min(self.wait_s * 2, _LONGEST_REST_S)

    def answered(self) -> None:
        self.failures, self.until, self.wait_s = 0, 0.0, _FIRST_REST_S


@dataclass(slots=True)
class Failing:
    """Chats whose reads bring nothing, one after the other: each is left alone for twice as long as the time before."""

    _chats: dict[ChatId, tuple[float, float]] = field(default_factory=dict)
    # Since when each has been wanted, and when it is tried again.
    _wanted: dict[ChatId, tuple[float, float]] = field(default_factory=dict)

    def failed(self, chat: ChatId, now: float) -> float:
        """For how long it is left alone."""
        wait_s = min(_LONGEST_AGAIN_S, self._chats[chat][0] * 2) if chat in self._chats else FIRST_AGAIN_S
        self._chats[chat] = wait_s, now + wait_s
        return wait_s

    def ended(self, chat: ChatId) -> None:
        self._chats.pop(chat, None)
        self._wanted.pop(chat, None)

    def to_be_tried(self, chat: ChatId, since: float, again_at: float) -> None:
        self._wanted[chat] = since, again_at

    def wanted_since(self, chat: ChatId, since: float) -> float:
        """Since the first of the tries that led to this one, which is wanted since then."""
        first, again_at = self._wanted.get(chat, (since, since))
        return min(first, since) if since <= again_at + _LATEST_TRY_S else since

    def left_alone(self, chat: ChatId, now: float) -> bool:
        return chat in self._chats and now < self._chats[chat][1]

    def try_all_soon(self, now: float) -> None:
        self._chats = {chat: (wait_s, min(until, now + _SOON_S)) for chat, (wait_s, until) in self._chats.items()}
