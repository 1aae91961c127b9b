from chatferry.simulators.bitrix24.limits import LeakyBuckets, OperatingTime
from chatferry.simulators.bitrix24.settings import RateBucket
from chatferry.simulators.clock import ScaledClock


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_takes_its_capacity_at_once_and_then_what_drains() -> None:
    clock = Hand()
    buckets = LeakyBuckets(RateBucket(50, 2), clock)
    assert [buckets.admit("a") for _ in range(52)] == [True] * 50 + [False] * 2
    clock.now += 3
    assert [buckets.admit("a") for _ in range(7)] == [True] * 6 + [False]


def test_sources_have_buckets_of_their_own() -> None:
    buckets = LeakyBuckets(RateBucket(1, 1), Hand())
    assert [buckets.admit(source) for source in "aab"] == [True, False, True]


def test_without_a_bucket_everything_is_admitted() -> None:
    buckets = LeakyBuckets(None, Hand())
    assert all(buckets.admit("a") for _ in range(1000))


def test_the_call_that_crosses_the_operating_limit_is_the_last_one() -> None:
    operating = OperatingTime(10, {"im.*": 4.0}, Hand())
    for blocked in (False, False, False, True):
        assert operating.blocked("w", "im.x") is blocked
        operating.add("w", "im.x", 0)
    assert not operating.blocked("w", "im.y")
    assert not operating.blocked("v", "im.x")


def test_a_slot_is_forgotten_ten_minutes_after_its_first_call() -> None:
    clock = Hand()
    operating = OperatingTime(10, {}, clock)
    operating.add("w", "m", 6)
    first_at = clock.now
    clock.now += 120
    operating.add("w", "m", 5)
    assert operating.spent("w", "m") == (11, int(first_at + 600))
    clock.now = first_at + 600
    assert operating.spent("w", "m") == (5, int(first_at + 720))
    clock.now = first_at + 720
    assert operating.spent("w", "m") == (0, None)


def test_short_calls_cost_nothing() -> None:
    operating = OperatingTime(1, {}, Hand())
    for _ in range(1000):
        operating.add("w", "m", 0.1)
    assert operating.spent("w", "m") == (0, None)


def test_a_change_of_speed_makes_no_jump() -> None:
    steady = Hand()
    clock = ScaledClock(2, wall=lambda: 1000.0, steady=steady)
    steady.now += 5
    assert clock() == 1010
    clock.set_speed(100)
    assert clock() == 1010
    steady.now += 1
    assert clock() == 1110
