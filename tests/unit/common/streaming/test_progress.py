"""What may be committed, whatever order records are finished in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatferry.common.streaming.progress import Offsets, Progress
from chatferry.common.streaming.records import Partition, StoredRecord


def _record(partition: int, offset: int) -> StoredRecord:
    return StoredRecord("t", partition, offset, 0, None, None, ())


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(5, 30)), unique=True, min_size=1), st.data())
def test_a_commit_never_passes_an_unfinished_record(places: list[tuple[int, int]], data: st.DataObject) -> None:
    records = [_record(*place) for place in sorted(places)]
    progress = Progress(records)
    finished = data.draw(st.lists(st.sampled_from(records), unique=True))
    progress.finish(finished)
    for partition, offset in progress.committable().items():
        mine = [record for record in records if record.partition == partition.partition]
        assert all(record in finished for record in mine if record.offset < offset)
        unfinished = [record.offset for record in mine if record not in finished]
        assert offset == min(unfinished, default=max(record.offset for record in mine) + 1)
        assert progress.unfinished().get(partition) == (min(unfinished) if unfinished else None)


def test_finishing_twice_changes_nothing() -> None:
    progress = Progress([_record(0, 7), _record(0, 9)])
    progress.finish([_record(0, 7)])
    progress.finish([_record(0, 7)])
    assert progress.committable() == {Partition("t", 0): 9}


HERE, THERE = Partition("t", 0), Partition("t", 1)


def test_a_commit_never_takes_the_group_back() -> None:
    offsets = Offsets()
    offsets.reached({HERE: 5, THERE: 0})
    assert offsets.to_commit({HERE: 3, THERE: 2}, {HERE, THERE}) == {THERE: 2}
    offsets.reached({THERE: 2})
    assert offsets.to_commit({HERE: 5, THERE: 1}, {HERE, THERE}) == {}


def test_what_could_not_be_committed_is_committed_later_unless_the_partition_is_gone() -> None:
    offsets = Offsets()
    assert offsets.to_commit({HERE: 3, THERE: 4}, {HERE, THERE}) == {HERE: 3, THERE: 4}
    assert offsets.to_commit({HERE: 2}, {HERE}) == {HERE: 3}
    offsets.reached({HERE: 3})
    assert offsets.to_commit({}, {HERE, THERE}) == {}
    assert offsets.to_commit({HERE: 6}, {HERE}) == {HERE: 6}
    offsets.refused()
    assert offsets.to_commit({}, {HERE}) == {}


def test_of_a_log_that_went_back_nothing_counts_as_finished_any_more() -> None:
    offsets = Offsets()
    offsets.to_commit({HERE: 5_000}, {HERE, THERE})
    offsets.reached({HERE: 5_000, THERE: 7})
    again = [_record(0, 4_898), _record(0, 4_900), _record(1, 6), _record(1, 7)]
    assert offsets.begin_anew([again[0], again[3]]) == {HERE: 5_000}
    assert offsets.standing([HERE, THERE]) == {HERE: 0, THERE: 7}
    assert offsets.beyond(again) == [again[0], again[1], again[3]]
    assert offsets.to_commit({HERE: 4_901}, {HERE, THERE}) == {HERE: 4_901}


def test_what_is_finished_and_not_committed_yet_is_finished() -> None:
    offsets = Offsets()
    offsets.reached({HERE: 5_000})
    assert offsets.to_commit({HERE: 5_003, THERE: 8}, {HERE, THERE}) == {HERE: 5_003, THERE: 8}
    again = [_record(0, 5_002), _record(0, 5_003), _record(1, 7), _record(1, 8)]
    assert offsets.beyond(again) == [again[1], again[3]]
    assert offsets.standing([HERE, THERE]) == {HERE: 5_003, THERE: 8}
    assert offsets.begin_anew(again) == {HERE: 5_003, THERE: 8}
    assert offsets.to_commit({HERE: 5_003}, {HERE, THERE}) == {HERE: 5_003}
