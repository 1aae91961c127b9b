"""What may still be spent of a method's operating time, against the portal's own way of counting it."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatferry.common.entities.reading import Command
from chatferry.common.portal.operating import Measured, Meter, measured
from chatferry.simulators.bitrix24.limits import OperatingTime

LIMIT_S = 20.0
WANTED = 50


class PortalSide:
    """A portal's own count (the simulator's), on a clock that is not ours, and a reader of our meter's state."""

    def __init__(self, cost: float, ahead: float, before: int = 0, limit_s: float = LIMIT_S) -> None:
        self.now, self.ahead, self.limit_s = 1_000_000.0, ahead, limit_s
        self.portal = OperatingTime(limit_s, {"m": cost}, lambda: self.now + self.ahead)
        self.refused = self.run = self.tickets = 0
        for _ in range(before):
            self.portal.add("w", "m", 0)
        self.state = Meter().stored()

    def meter(self) -> Meter:
        """As another process reads it."""
        return Meter.of(json.loads(json.dumps(self.state)))

    def reserve(self, wanted: int = WANTED) -> tuple[str, int, float]:
        self.tickets += 1
        meter, ticket = self.meter(), f"t{self.tickets}"
        granted, later = meter.grant(self.now, ticket, wanted, self.limit_s)
        self.state = meter.stored()
        return ticket, granted, later

    def execute(self, granted: int) -> Measured | None:
        """The portal runs them, as a batch; None when none was asked for."""
        times, errors = {}, {}
        commands = [Command(f"c{n}", "m", {}) for n in range(granted)]
        for command in commands:
            if self.portal.blocked("w", "m"):
                self.refused += 1
                errors[command.label] = {"error": "OPERATION_TIME_LIMIT"}
                continue
            self.run += 1
            self.portal.add("w", "m", 0)
            spent, reset_at = self.portal.spent("w", "m")
            finish = self.now + self.ahead
            times[command.label] = {"finish": finish, "operating": spent, "operating_reset_at": reset_at}
        return measured(commands, times, errors).get("m")

    def settle(self, ticket: str, told: Measured | None) -> None:
        meter = self.meter()
        meter.settle(self.now, ticket, told)
        self.state = meter.stored()


@settings(max_examples=100, deadline=None)
@given(
    cost=st.sampled_from([0.05, 0.11, 0.4, 1.0, 3.7, 9.0]),
    ahead=st.floats(0, 59),
    before=st.integers(0, 2),
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 50), st.floats(0.1, 90)), min_size=5, max_size=60),
)
@example(cost=9.0, ahead=0.0, before=1, steps=[(0, 1, 1.0), (2, 1, 1.0), (2, 1, 3.0), (2, 1, 10.0), (2, 1, 1.0)])
def test_the_portal_never_refuses_a_batch_beside_others(
    cost: float, ahead: float, before: int, steps: list[tuple[int, int, float]]
) -> None:
    side = PortalSide(cost, ahead, before)
    under_way: list[tuple[float, str, Measured | None]] = []
    for kind, wanted, seconds in steps:
        if under_way and (kind == 0 or side.now - under_way[0][0] > 70):
            side.settle(*under_way.pop(0)[1:])
        elif kind == 1 and under_way:
            side.settle(*under_way.pop()[1:])
        else:
            # One that goes at an unknown price, for others have not been answered for long, may be refused.
            blind, refused = bool(under_way) and not side.meter().known, side.refused
            ticket, granted, _ = side.reserve(wanted)
            assert granted <= (1 if blind else wanted)
            if granted:
                under_way.append((side.now, ticket, side.execute(granted)))
            side.refused = refused if blind else side.refused
        side.now += seconds
    assert side.refused == 0


def drive(side: PortalSide, seconds: float) -> None:
    """Batch after batch; who may not go on asks again when it was told to."""
    end = side.now + seconds
    while side.now < end:
        ticket, granted, later = side.reserve()
        if granted:
            side.settle(ticket, side.execute(granted))
        side.now += 0.1 if granted == WANTED else later


@pytest.mark.parametrize("cost", [0.2, 1.0, 4.0])
def test_a_limit_that_is_reached_is_used_to_the_full_and_never_refused(cost: float) -> None:
    side = PortalSide(cost, ahead=31.0, limit_s=480.0)
    drive(side, 3_600)
    assert side.refused == 0
    # Six windows of ten minutes; some is lost at both ends and to minutes that end at different moments.
    assert side.run * cost >= 0.75 * 6 * 480


def test_a_meter_that_knows_nothing_lets_one_pass_and_then_as_many_as_fit() -> None:
    side = PortalSide(cost=2.0, ahead=0.0)
    ticket, granted, _ = side.reserve()
    assert granted == 1
    assert side.reserve()[1] == 0, "nobody has told yet"
    side.settle(ticket, side.execute(1))
    assert side.reserve()[1] == 8, "19 usable seconds, 2 spent, 2 a command"


def test_a_meter_that_knows_nothing_does_not_wait_long_for_the_answer_of_a_process_that_died() -> None:
    side = PortalSide(cost=1.0, ahead=0.0)
    side.reserve()
    passed = []
    for second in range(60):
        side.now += 1.0
        if side.reserve()[1]:
            passed.append(second + 1)
    assert passed == [5, 15, 30, 50], "each lost one lets the next wait longer"


def test_a_reservation_that_is_repeated_because_its_answer_was_lost_is_granted_again() -> None:
    meter = Meter()
    assert meter.grant(0.0, "t", 10, LIMIT_S)[0] == meter.grant(0.1, "t", 10, LIMIT_S)[0] == 1
    assert len(meter.flying) == 1


def test_commands_under_way_are_counted_before_they_are_answered() -> None:
    side = PortalSide(cost=2.0, ahead=0.0)
    ticket, _, _ = side.reserve()
    side.settle(ticket, side.execute(1))
    assert [side.reserve(5)[1] for _ in range(3)] == [5, 3, 0]


def test_a_free_method_is_not_held_up_beyond_its_first_answer() -> None:
    side = PortalSide(cost=0.05, ahead=0.0, limit_s=480.0)
    ticket, _, _ = side.reserve()
    side.settle(ticket, side.execute(1))
    assert [side.reserve()[1] for _ in range(3)] == [WANTED] * 3


def test_what_became_of_a_lost_request_is_not_known_and_counted_as_spent() -> None:
    side = PortalSide(cost=2.0, ahead=0.0)
    ticket, _, _ = side.reserve()
    side.settle(ticket, side.execute(1))
    lost, granted, _ = side.reserve(6)
    side.execute(granted)
    side.settle(lost, None)
    assert side.reserve()[1] == 2
    assert side.refused == 0


def test_commands_of_a_process_that_died_are_counted_as_spent_in_the_end() -> None:
    side = PortalSide(cost=2.0, ahead=0.0)
    ticket, _, _ = side.reserve()
    side.settle(ticket, side.execute(1))
    side.execute(side.reserve(6)[1])
    side.now += 200
    assert side.reserve()[1] == 2


def test_a_refusal_of_the_portal_holds_the_method_back_for_a_minute() -> None:
    side = PortalSide(cost=25.0, ahead=0.0, before=1)
    ticket, granted, _ = side.reserve()
    side.settle(ticket, side.execute(granted))
    assert side.refused == 1, "somebody else had spent it all, which nobody could know"
    _, granted, later = side.reserve()
    assert (granted, later) == (0, 60.0)


def test_another_user_of_the_webhook_is_noticed_by_the_next_answer() -> None:
    side = PortalSide(cost=2.0, ahead=0.0)
    ticket, _, _ = side.reserve()
    side.settle(ticket, side.execute(1))
    for _ in range(6):
        side.portal.add("w", "m", 0)
    ticket, _, _ = side.reserve(1)
    side.settle(ticket, side.execute(1))
    assert side.reserve()[1] in (0, 1), "16 of 19 usable seconds are spent"


def test_a_clock_that_was_set_back_holds_nobody_up_longer_than_the_window() -> None:
    side = PortalSide(cost=2.0, ahead=0.0)
    drive(side, 30)
    side.now -= 3_600
    side.ahead += 3_600
    _, granted, later = side.reserve()
    assert granted > 0 or later <= 600


def test_a_command_dearer_than_the_limit_goes_alone_and_then_waits() -> None:
    side = PortalSide(cost=19.5, ahead=0.0)
    ticket, granted, _ = side.reserve()
    side.settle(ticket, side.execute(granted))
    side.now += 1
    _, granted, later = side.reserve()
    assert granted == 0
    assert 500 < later <= 600


def test_a_portal_that_does_not_count_limits_nothing() -> None:
    meter = Meter()
    meter.grant(0.0, "t", 50, LIMIT_S)
    meter.settle(0.0, "t", measured([Command("c", "m", {})], {"c": {"duration": 0.3}}, {}).get("m"))
    assert meter.grant(1.0, "u", 50, LIMIT_S)[0] == 50


def test_the_dearest_command_is_seen_in_the_growth_of_the_total_and_in_its_duration() -> None:
    commands = [Command(f"c{n}", "m" if n < 3 else "o", {}) for n in range(4)]
    times = {
        "c0": {"operating": 5.0, "duration": 0.05},
        "c1": {"operating": 5.5},
        "c2": {"operating": 9.0, "finish": 100.5, "operating_reset_at": 400},
        "c3": {"operating": 1, "duration": 0.7},
    }
    told = measured(commands, times, {})
    assert told["m"] == Measured(9.0, 299.5, 3.5, 4.0)
    assert told["o"] == Measured(1.0, None, 0.7)
