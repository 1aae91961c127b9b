"""A replay: everything is sent once it was claimed, in order, whatever it was cut off by."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.importer.faults import CrashError, Faults
from tests.unit.operator.dlq.replay_fakes import FakeDlq, Told

from chatferry.operator.dlq.ports import Outcome
from chatferry.operator.dlq.replay import GONE, TOO_LARGE, Replayed, replay
from chatferry.operator.dlq.selection import Selection
from chatferry.operator.dlq.words import of_replay

ALL = Selection()


def _dlq(faults: Faults | None = None) -> FakeDlq:
    dlq = FakeDlq(faults or Faults())
    for chat, number in ((2, 7), (1, 3), (1, 1), (2, 5), (1, 2), (1, 9), (2, 6)):
        dlq.add(chat, number)
    return dlq


def _first_seen(dlq: FakeDlq) -> dict[int, list[int]]:
    order: dict[int, list[int]] = {}
    for chat, number in dict.fromkeys(dlq.log):
        order.setdefault(chat, []).append(number)
    return order


async def test_each_line_goes_in_order_and_everything_arrives() -> None:
    dlq, told = _dlq(), Told()
    done = await replay(dlq.parts("r1"), ALL, told, 5)
    assert _first_seen(dlq) == {1: [1, 2, 3, 9], 2: [5, 6, 7]}
    assert (done.proved, done.outcome.arrived, done.outcome.left) == (True, 7, 0)
    assert told.seen == [
        *(("to send", 7), ("all", 7), ("sent", 3), ("sent", 3), ("sent", 1)),
        ("left", 0),
    ]


async def test_a_second_replay_sends_nothing() -> None:
    dlq = _dlq()
    await replay(dlq.parts("r1"), ALL, Told(), 5)
    before = list(dlq.log)
    done = await replay(dlq.parts("r2"), ALL, Told(), 5)
    assert dlq.log == before
    assert list(of_replay(done)) == ["there is nothing to replay"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=4), st.booleans())
async def test_killed_anywhere_and_any_number_of_times_the_next_one_finishes_it(
    kills: list[tuple[int, bool]], importing: bool
) -> None:
    dlq = _dlq()
    for number, (at, after) in enumerate(kills):
        dlq.faults.crash_at, dlq.faults.after = len(dlq.faults.seen) + at, after
        try:
            await replay(dlq.parts(f"r{number}"), ALL, Told(), 5)
        except CrashError:
            if importing:
                dlq.import_all()
    dlq.faults.crash_at = None
    done = await replay(dlq.parts("last"), ALL, Told(), 5)
    assert done.proved
    assert {row["state"] for row in dlq.rows.values()} == {"replayed"}
    assert set(dlq.records.values()) == {"IMPORT_OK"}
    assert _first_seen(dlq) == {1: [1, 2, 3, 9], 2: [5, 6, 7]}


async def test_what_cannot_be_sent_is_dead_as_before_and_said() -> None:
    dlq = _dlq()
    one, other, *_ = dlq.rows
    dlq.gone, dlq.too_large = {one}, {other}
    done = await replay(dlq.parts("r1"), ALL, Told(), 5)
    assert done.set_back == {one: GONE, other: TOO_LARGE}
    assert [dlq.rows[id_]["state"] for id_ in (one, other)] == ["dead", "dead"]
    assert [dlq.records[id_] for id_ in (one, other)] == ["IMPORT_ERR", "IMPORT_ERR"]
    assert not done.proved
    assert done.outcome.arrived == 5


async def test_newer_content_is_not_overwritten_by_an_old_letter() -> None:
    dlq = _dlq()
    one = next(iter(dlq.rows))
    dlq.newer = {one}
    done = await replay(dlq.parts("r1"), ALL, Told(), 5)
    assert dlq.rows[one]["line"] not in dlq.log
    assert (done.proved, done.outcome.superseded) == (True, 1)


async def test_what_dies_again_is_no_success() -> None:
    dlq = _dlq()
    dlq.refuses = {3, 7}
    done = await replay(dlq.parts("r1"), ALL, Told(), 5)
    assert not done.proved
    assert "2 died again with target.NO: they are dead letters as before; mend the cause first" in list(of_replay(done))


async def test_it_waits_no_longer_than_its_patience_and_a_second_one_only_waits() -> None:
    dlq = _dlq()
    dlq.stuck = True
    done = await replay(dlq.parts("r1"), ALL, Told(), 5)
    assert 5 <= dlq.clock.seconds <= 6
    assert (done.proved, done.outcome.left) == (False, 7)
    dlq.stuck = False
    before = list(dlq.log)
    done = await replay(dlq.parts("r2"), ALL, Told(), 5)
    assert dlq.log == before
    assert (done.proved, done.claimed.on_the_way, done.outcome.arrived) == (True, 7, 7)


@pytest.mark.parametrize("field", ["rejects", "unsettled"])
async def test_what_is_left_out_is_said_and_nothing_is_called_proved(field: str) -> None:
    dlq = _dlq()
    done = await replay(dlq.parts("r1"), ALL, Told(), 5)
    left_out = Replayed(type(done.claimed)(**{field: 3}), done.outcome, {})
    assert not left_out.proved
    [line] = [line for line in of_replay(left_out) if line.startswith("3 ")]
    assert ("mend them at the portal" in line) == (field == "rejects")


async def test_what_dies_again_at_the_very_end_is_no_success() -> None:
    """Between the two last looks."""

    class Late(FakeDlq):
        async def outcome(self) -> Outcome:
            told = await super().outcome()
            self.stuck = False
            return told

    dlq = Late(stuck=True, refuses={1})
    dlq.add(1, 1)
    done = await replay(dlq.parts("r1"), Selection(), Told(), 5)
    assert not done.proved
    assert (done.outcome.left, done.outcome.again) == (1, {})
