"""An outage ends one kind of work for a while, and none of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.simulation.loop import Host, Loop, running

from chatferry.common.errors import OutageError
from chatferry.common.service import Context
from chatferry.participants.lasting import either, side_by_side


async def test_what_an_outage_ended_is_begun_again_and_the_rest_goes_on_meanwhile() -> None:
    context, begun, beats = Context(), list[int](), 0

    async def falls() -> None:
        begun.append(beats)
        if len(begun) < 3:
            raise OutageError("kafka", "Kafka is away")
        assert context.health.outages == {"kafka": "Kafka is away"}
        context.stopping.set()

    async def goes_on() -> None:
        nonlocal beats
        while not context.stopping.is_set():
            beats += 1
            await asyncio.sleep(0.01)

    async with asyncio.timeout(10):
        await side_by_side(context, [("falls", falls), ("goes on", goes_on)])
    assert len(begun) == 3
    assert begun[0] < begun[1] < begun[2]


async def test_what_is_no_outage_ends_all_of_it() -> None:
    context, ended = Context(), asyncio.Event()

    async def breaks() -> None:
        raise ValueError("a fault of ours")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ValueError, match="a fault of ours"):
        async with asyncio.timeout(10):
            await side_by_side(context, [("breaks", breaks), ("waits", waits)])
    assert ended.is_set()


async def test_a_stop_lets_what_is_under_way_finish() -> None:
    context, finished = Context(), asyncio.Event()

    async def works() -> None:
        await context.stopping.wait()
        await asyncio.sleep(0.05)
        finished.set()

    asyncio.get_running_loop().call_later(0.05, context.stopping.set)
    async with asyncio.timeout(10):
        await side_by_side(context, [("works", works)])
    assert finished.is_set()


class Replica:
    """One work beside others: each of its tries takes `failing_s` and fails, while there is one."""

    def __init__(self) -> None:
        self.loop, self.host, self.context = Loop(), Host("replica"), Context()  # type: ignore[abstract]
        self.loop.hosts.append(self.host)
        self.failing_s: float | None = None
        with running(self.loop), self.loop.on(self.host):
            self.loop.create_task(side_by_side(self.context, [("work", self._work)]))

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            if self.failing_s is not None:
                await asyncio.sleep(self.failing_s)
                raise OutageError("kafka", "Kafka does not take records")

    def shown(self, seconds: int) -> list[float]:
        """The gauge, looked at every second; `/readyz` says the same."""
        found = list[float]()
        for _ in range(seconds):
            with running(self.loop):
                self.loop.run_ready()
                end = self.loop.time() + 1
                while self.loop.advance(end - self.loop.time()):
                    self.loop.run_ready()
                self.loop.pass_by(max(0.0, end - self.loop.time()))
                self.loop.run_ready()
            found.append(self.context.metrics.registry.get_sample_value("outage", {"part": "kafka"}) or 0.0)
            assert bool(found[-1]) == ("kafka" in self.context.health.outages)
        return found


@pytest.fixture
def replica() -> Iterator[Replica]:
    made = Replica()
    yield made
    with running(made.loop):
        made.loop.kill(made.host)


@pytest.mark.parametrize("failing_s", [0.01, 2, 15, 60, 123])
def test_a_part_is_shown_as_away_for_as_long_as_it_is_however_long_each_try_takes(
    replica: Replica, failing_s: float
) -> None:
    replica.shown(3_600)
    replica.failing_s = failing_s
    replica.shown(int(2 * failing_s) + 10)
    assert set(replica.shown(600)) == {1.0}


def test_tries_of_different_lengths_are_taken_for_one_outage(replica: Replica) -> None:
    replica.failing_s = 15
    replica.shown(60)
    for failing_s in (0.01, 15, 0.01, 15):
        replica.failing_s = failing_s
        assert set(replica.shown(20)) == {1.0}


def test_a_part_that_is_back_is_shown_as_away_for_no_longer_than_a_try_takes_and_seconds(replica: Replica) -> None:
    for failing_s in (0.01, 15, 0.01):
        replica.failing_s = failing_s
        replica.shown(120)
        replica.failing_s = None
        shown = replica.shown(600)
        assert sum(shown) <= 2 * failing_s + 10
        assert shown[-1] == 0.0


def test_an_outage_of_a_moment_is_over_after_seconds_however_long_the_work_went_on_before(replica: Replica) -> None:
    for _ in range(2):
        replica.failing_s = 0.01
        replica.shown(1)
        replica.failing_s = None
        assert sum(replica.shown(600)) <= 10


@pytest.mark.parametrize("which", [0, 1])
async def test_of_two_reasons_to_end_either_ends_the_work(which: int) -> None:
    reasons = asyncio.Event(), asyncio.Event()
    async with either(*reasons) as ends:
        await asyncio.sleep(0)
        assert not ends.is_set()
        reasons[which].set()
        await asyncio.wait_for(ends.wait(), 1)
