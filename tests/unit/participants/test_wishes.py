"""What readers have met as too old is asked for at a pace."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence

import pytest
from tests.unit.importer.fakes import FakeClock

from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.wishes import Wishes


class Asked:
    """Notes when each chat was asked for."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.at: dict[ChatId, float] = {}

    async def ask(self, chats: Collection[ChatId], urgency: Urgency) -> None:
        assert urgency is Urgency.ASKED
        self.at.update(dict.fromkeys(chats, self.clock.seconds))


async def _all(chats: Sequence[ChatId]) -> list[ChatId]:
    return list(chats)


@pytest.mark.parametrize("per_second", [6.0, 4.5, 1.0, 0.25])
async def test_no_more_go_on_in_a_second_than_are_allowed(per_second: float) -> None:
    clock = FakeClock()
    asked = Asked(clock)
    wishes = Wishes(asked, clock, per_second, _all)  # type: ignore[arg-type]
    wishes.wish(ChatId(number) for number in range(1, 41))
    for _ in range(400):
        await asyncio.sleep(0)
    assert len(asked.at) == 40
    assert max(asked.at.values()) == pytest.approx(40 / per_second, rel=0.2)
    assert max(Counter(asked.at.values()).values()) <= max(1, per_second)
