"""What the demo is told, and what follows from it: how fast chats change, how long it is quiet at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from chatferry.common.errors import ConfigurationError

Events = Literal["on", "off"]
CHATS_MOST, REPLICAS_MOST, SECONDS_MOST = 20_000, 8, 86_400
_CHANGING_LEAST_S = 3
_READS_PER_S = 20.0
"""Of the 27 calls a second that the service allows itself, what its own plan may use without a crowd."""
_LOOK_S = 5.0
"""The service looks every so often for chats that are due."""
_DEBOUNCE_S = 3.0
_UNHEARD_POLL_S, _UNHEARD_MOST = 5, 20
_POLLED_QUIET_S = 13
"""Long enough for a poll to find the last change that no event has told."""


@dataclass(frozen=True, slots=True)
class Options:
    """`seconds`: how long it is watched, the quiet end included, once every chat has been counted."""

    chats: int = 200
    seconds: int = 60
    replicas: int = 2
    events: Events = "on"
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Pace:
    """`quiet_s`: the end of the time, in which nothing changes any more. `poll_s`: within so many seconds the service
    reads a chat whose events do not come. `unheard`: chats in which the bot may not hear of changes; if there are any,
    its rights are taken and given back elsewhere too."""

    changes_per_s: float
    quiet_s: int
    poll_s: int
    unheard: int
    learning_s: float
    messages_per_s: float = 0.5

    @property
    def safety_s(self) -> int:
        """A setting's least."""
        return max(10, self.poll_s)


def paced(options: Options) -> Pace:
    """Raises ConfigurationError with what would do."""
    _within("--chats", options.chats, 1, CHATS_MOST)
    _within("--replicas", options.replicas, 1, REPLICAS_MOST)
    if options.events == "off":
        poll_s = max(5, math.ceil(options.chats / _READS_PER_S))
        quiet_s = math.ceil(poll_s + _LOOK_S + _DEBOUNCE_S)
    else:
        poll_s, quiet_s = _UNHEARD_POLL_S, max(5, min(15, options.seconds // 4))
    least = quiet_s + _CHANGING_LEAST_S if options.events == "off" else 8
    if not least <= options.seconds <= SECONDS_MOST:
        why = f" for {options.chats} chats that are read in turn" if options.events == "off" else ""
        raise ConfigurationError(f"--seconds {options.seconds}: give {least} to {SECONDS_MOST}{why}")
    polled = options.events == "on" and quiet_s >= _POLLED_QUIET_S
    return Pace(
        changes_per_s=min(2.0, max(0.5, options.chats / 200)),
        quiet_s=quiet_s,
        poll_s=poll_s,
        unheard=min(_UNHEARD_MOST, options.chats // 10) if polled else 0,
        learning_s=60 + 2 * options.chats / _READS_PER_S,
    )


def _within(name: str, given: int, least: int, most: int) -> None:
    if not least <= given <= most:
        raise ConfigurationError(f"{name} {given}: give {least} to {most}")
