import pytest

from chatferry.stack.deadline import POLL_S, Deadline
from chatferry.stack.errors import GivenUpError


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0
        self.paused: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.paused.append(seconds)
        self.now += seconds


def test_a_deadline_lets_wait_until_its_time_is_up_and_never_longer() -> None:
    clock = HandClock()
    deadline = Deadline(POLL_S * 2.5, clock=clock, pause=clock.pause)
    waits = 0
    while deadline.wait_a_moment():
        waits += 1
    assert waits == 3
    assert sum(clock.paused) == pytest.approx(POLL_S * 2.5)
    assert deadline.left_s() == 0


def test_a_cancelled_deadline_ends_the_waiting_at_once() -> None:
    clock = HandClock()
    deadline = Deadline(60, clock=clock, pause=clock.pause, cancelled=lambda: True)
    with pytest.raises(GivenUpError):
        deadline.wait_a_moment()
    assert clock.paused == []
