"""Sending dead letters again, exactly as they were, until the importers have ended every one of them.

claim    dead -> replaying, unsent: from here on only a replay moves them, and a later one finishes what this one began
send     bytes -> record IMPORT_ERR to NEW -> topic -> the broker's answer -> no longer unsent; chunk by chunk, in order
drain    the importers end each: replayed, superseded, or discarded with its parent; what dies again is a new one
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from chatferry.common.clock import Clock
from chatferry.operator.dlq.ports import Claimed, Contents, Letter, Letters, Outcome, Outlet, Records, Watch
from chatferry.operator.dlq.selection import Selection

AT_ONCE = 1_000
GONE = "its bytes are neither on `dlq` nor in the database any more"
TOO_LARGE = "with the header of a replay it is larger than its topic takes"
_LOOK_S = 0.25


class Progress(Protocol):
    """Told how far a replay is."""

    def begin(self, to_send: int, all_of_them: int) -> None:
        """What it is about: to be sent, and with those that were sent before."""

    def sent(self, count: int) -> None:
        """So many more are on their topics."""

    def left(self, count: int) -> None:
        """So many have no end yet."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a replay works on."""

    letters: Letters
    contents: Contents
    records: Records
    outlet: Outlet
    watch: Watch
    clock: Clock


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was asked for, and how it ended. `set_back`: why some could not be sent, by id."""

    claimed: Claimed
    outcome: Outcome
    set_back: dict[str, str]

    @property
    def proved(self) -> bool:
        """Everything that was selected has arrived, or newer content has taken its place."""
        kept = self.claimed.rejects + self.claimed.unsettled
        ended = self.outcome
        return not (kept or self.set_back or ended.left or ended.again or ended.given_up)


async def replay(parts: Parts, selection: Selection, progress: Progress, patience_s: float) -> Replayed:
    """Raises OutageError when a part is away: nothing is lost, and the same command finishes it.

    Gives up waiting, not the replay, when nothing has ended for `patience_s`.
    """
    claimed = await parts.letters.claim(selection)
    progress.begin(claimed.to_send, claimed.to_send + claimed.on_the_way)
    set_back: dict[str, str] = {}
    while letters := await parts.letters.unsent(AT_ONCE):
        refused = await _send(parts, letters)
        set_back |= refused
        progress.sent(len(letters) - len(refused))
    await _drain(parts, progress.left, patience_s)
    # In this order: what ends between the two is said twice, and never as neither left nor dead again.
    left = await parts.watch.left()
    return Replayed(claimed, replace(await parts.watch.outcome(), left=left), set_back)


async def _send(parts: Parts, letters: list[Letter]) -> dict[str, str]:
    contents = await parts.contents.read(letters)
    there = [letter for letter in letters if letter.id in contents]
    moot = await parts.records.renew(there)
    due = [(letter, contents[letter.id]) for letter in there if letter.id not in moot]
    too_large = await parts.outlet.send(due)
    refused = dict.fromkeys((letter.id for letter in letters if letter.id not in contents), GONE)
    refused |= dict.fromkeys(too_large, TOO_LARGE)
    await parts.letters.sent([letter.id for letter, _ in due if letter.id not in too_large])
    if refused:
        await parts.letters.set_back(refused)
    return refused


async def _drain(parts: Parts, tell: Callable[[int], None], patience_s: float) -> None:
    before, since = -1, parts.clock.monotonic()
    while left := await parts.watch.left():
        tell(left)
        if left != before:
            before, since = left, parts.clock.monotonic()
        elif parts.clock.monotonic() - since >= patience_s:
            return
        await parts.clock.sleep(_LOOK_S)
    tell(0)
