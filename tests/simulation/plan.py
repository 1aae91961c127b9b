"""What happens in one schedule: what is published, what goes wrong, and the seed that decides the rest."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from tests.simulation.target import FOR_EVER, Error
from tests.simulation.wire import FAULTS, Fault

CHATS = 3


class Step(NamedTuple):
    """One thing that somebody else does, while the importers work; `number` picks among what there is.

    chat, message    a new one is stored and published
    edit             the chat (number 0) or one of its messages gets new content: stored now, published a step later
    again            a record is on its topic a second time, byte for byte, in whatever version it was
    broken, unknown  a record that cannot be read, or that no document knows
    join, stop       another importer starts; one is asked to end, and started again
    replay, discard  the operator sends all dead letters again, or gives one up
    close, open      the family's Set ends, or begins again
    rest             seconds in which nothing of all this happens
    """

    kind: str
    chat: int = 1
    number: int = 0


STEPS = (
    *("chat", "message", "message", "message", "edit", "edit", "again", "broken", "unknown"),
    *("join", "stop", "replay", "discard", "close", "open", "rest"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """`errors`: by (chat, message; 0 for the chat itself) how it fails at the target.

    `holds`: in a call, the target keeps back what follows one of its chat that has to come again. `dead_in_a_row`: at
    most so many, then the family is halted until an operator lets it go on. `replayed`: at the end everything dead is
    sent again, when the target is mended.
    """

    seed: int
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...] = ()
    errors: tuple[tuple[tuple[int, int], Error], ...] = ()
    importers: int = 1
    may_pass_dead: bool = True
    holds: bool = True
    dead_in_a_row: int = 100
    replayed: bool = False


def plan_of(seed: int) -> Plan:
    """The schedule of a seed: one to three chats, three to twelve records, up to six faults."""
    chance = random.Random(seed)
    chats = chance.randint(1, CHATS)
    return Plan(
        seed=seed,
        steps=tuple(_steps(chance, chats)),
        faults=tuple(_faults(chance)),
        errors=tuple(_errors(chance, chats)),
        importers=chance.choice((1, 1, 2)),
        may_pass_dead=chance.random() < 0.85,
        holds=chance.random() < 0.8,
        dead_in_a_row=chance.choice((100, 100, 100, 1)),
        replayed=chance.random() < 0.5,
    )


def _steps(chance: random.Random, chats: int) -> list[Step]:
    steps = [Step("chat", chat) for chat in range(1, chats + 1)]
    steps += [Step("message", chance.randint(1, chats)) for _ in range(chance.randint(2, 8))]
    if chance.random() < 0.3:
        chance.shuffle(steps)
    for _ in range(chance.randint(0, 5)):
        step = Step(chance.choice(STEPS[4:]), chance.randint(1, chats), chance.randint(0, 9))
        steps.insert(chance.randint(1, len(steps)), step)
    return steps


def _faults(chance: random.Random) -> list[Fault]:
    faults = []
    for _ in range(chance.choice((0, 1, 1, 2, 3, 4, 6))):
        kind = chance.choice(FAULTS)
        seconds = chance.choice((0.5, 4.0, 9.0, 30.0)) if kind in ("slow", "away", "freeze") else 0.0
        faults.append(Fault(1 + int(chance.random() ** 1.5 * 160), kind, seconds))
    return faults


def _errors(chance: random.Random, chats: int) -> list[tuple[tuple[int, int], Error]]:
    errors = []
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        kind = chance.choice(("retry", "retry", "refuse", "poison", "reject"))
        times = chance.choice((1, 2, 3, 4, FOR_EVER))
        errors.append(((chance.randint(1, chats), chance.randint(0, 4)), Error(kind, times)))
    return errors
