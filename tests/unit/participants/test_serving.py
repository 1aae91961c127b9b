"""What a reader is told who wants counts that are read now."""

from __future__ import annotations

import pytest
from tests.unit.participants.readers import HOUR_MS, NOW_MS, HandClock, MemoryCatalogue, _Wanting, confirmed, entry

from chatferry.common.telemetry.metrics import Metrics
from chatferry.participants.domain.counts import ChatId, Count, Mark, Stamp
from chatferry.participants.metrics import Watching
from chatferry.participants.serving import Rules, Serving, Sources
from chatferry.participants.view import View


@pytest.mark.parametrize("behind_ms", [-5_000, 0, 5_000])
async def test_a_count_is_fresh_by_the_clock_that_its_read_was_stamped_with(behind_ms: int) -> None:
    """Replicas' own clocks differ from Redis'."""
    clock, sources = HandClock(), _Wanting()
    redis_ms = NOW_MS - behind_ms
    old, new = confirmed(4, age_s=100), Count(9, Mark.CONFIRMED, Stamp(1, redis_ms))
    sources.cached, sources.brings = {ChatId(1): old}, {ChatId(1): new}
    view = View(clock)
    await view.follow(MemoryCatalogue([entry(1, max_chat=-1, counted=old)]))
    where = Sources(sources, sources, sources, lambda: redis_ms)
    serving = Serving(view, where, clock, Rules(HOUR_MS, 2.0), Watching(Metrics(), clock))
    answer = await serving.counts([ChatId(1)], None, fresh=True)
    assert ([one.count.count for one in answer.chats], answer.incomplete) == ([9], [])
    sources.brings = {ChatId(1): Count(9, Mark.CONFIRMED, Stamp(1, redis_ms - 2_000))}
    sources.cached = {ChatId(1): old}
    answer = await serving.counts([ChatId(1)], None, fresh=True)
    assert answer.incomplete == [ChatId(1)], "it was read before it was asked for"
