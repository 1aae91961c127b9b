"""The exact log of calls and the strict limit, against slow and obvious ways to count."""

from array import array

from hypothesis import example, given
from hypothesis import strategies as st

from chatferry.simulators.max.limits import SlidingWindow
from chatferry.simulators.max.traffic import Traffic, most_in_a_window

GAPS = st.lists(st.sampled_from([0.0, 0.001, 0.05, 0.3, 0.999, 1.0, 1.5]), max_size=60)


class Hand:
    """A clock moved by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def moments(gaps: list[float]) -> list[float]:
    total, found = 0.0, []
    for gap in gaps:
        total += gap
        found.append(total)
    return found


@given(GAPS)
def test_the_most_calls_in_any_second_are_found(gaps: list[float]) -> None:
    times = moments(gaps)
    wanted = max((sum(start <= other and other - start < 1 for other in times) for start in times), default=0)
    assert most_in_a_window(array("d", times)) == wanted


@given(GAPS, st.integers(1, 5))
# Rounding: not yet a second apart, and still no time left to wait if it is reckoned in the other order.
@example([0.001, 1.0], 1)
def test_no_second_admits_more_than_the_limit_nor_refuses_below_it(gaps: list[float], limit: int) -> None:
    hand = Hand()
    window = SlidingWindow(hand)
    admitted: list[float] = []
    for hand.now in moments(gaps):
        recent = sum(hand.now - moment < 1 for moment in admitted)
        wait = window.admit(limit)
        assert (wait is None) == (recent < limit)
        if wait is None:
            admitted.append(hand.now)
        else:
            assert 0 < wait <= 1
    assert most_in_a_window(array("d", admitted)) <= limit


def test_a_caller_that_waits_as_long_as_told_is_admitted() -> None:
    hand = Hand()
    window = SlidingWindow(hand)
    assert [window.admit(2) for _ in range(2)] == [None, None]
    hand.now = 0.25
    wait = window.admit(2)
    assert wait == 0.75
    hand.now += wait
    assert window.admit(2) is None


def test_a_limit_of_none_admits_all_and_a_lower_one_acts_at_once() -> None:
    window = SlidingWindow(Hand())
    assert [window.admit(0) for _ in range(100)] == [None] * 100
    assert window.admit(30) is not None


def test_questions_since_a_moment_count_from_there() -> None:
    clock, steady = Hand(), Hand()
    traffic = Traffic(clock, "/chats/{id}", steady)
    for second, chat_id in enumerate((1, 1, 2)):
        clock.now = steady.now = float(second)
        traffic.end(traffic.begin("/chats/{id}", chat_id), 200)
    traffic.end(traffic.begin("/me", None), 429)
    assert traffic.reads_by_chat() == {1: 2, 2: 1}
    assert traffic.reads_by_chat(1000) == {1: 1, 2: 1}
    since = traffic.summary(2000)
    assert (since["total"], since["reads"], since["max_in_any_second"]) == (2, 1, 2)
    assert since["by_status"] == {"200": 1, "429": 1}
    assert since["by_path"] == {"/chats/{id}": 1, "/me": 1}


def test_a_read_within_another_of_its_chat_is_one_twice_at_once_whichever_ends_first() -> None:
    traffic = Traffic(Hand(), "/chats/{id}", Hand())
    first, second = traffic.begin("/chats/{id}", 7), traffic.begin("/chats/{id}", 7)
    traffic.end(first, 200)
    third = traffic.begin("/chats/{id}", 7)
    traffic.end(second, 200)
    traffic.end(third, 200)
    traffic.end(traffic.begin("/chats/{id}", 7), 200)
    assert traffic.summary()["reads_twice_at_once"] == 2
    assert traffic.summary()["in_flight_now"] == 0
