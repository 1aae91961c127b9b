"""When a rule about faults acts: after so many calls, so often, so many times."""

from random import Random
from typing import Protocol


class Rule(Protocol):
    """`skip` matching calls pass first; then each is hit with `probability`, `count` times at most (None: no end)."""

    probability: float
    count: int | None
    skip: int


def hits(rule: Rule, random: Random) -> bool:
    """Whether the call that matches is hit; counted down in the rule. The rule must have a count other than 0."""
    if rule.skip > 0:
        rule.skip -= 1
        return False
    if rule.probability < 1 and random.random() >= rule.probability:
        return False
    if rule.count is not None:
        rule.count -= 1
    return True
