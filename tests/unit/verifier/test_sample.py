"""The sample depends on seed and keys alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatferry.verifier.domain.sample import Sample

KEYS = [f"source:chat:msg:{number}" for number in range(500)]


def taken(keys: list[str], size: int = 20, seed: int = 1) -> list[str]:
    sample = Sample(size, seed)
    for key in keys:
        sample.offer(key)
    return sample.keys()


@given(order=st.permutations(KEYS[:60]), repeats=st.lists(st.sampled_from(KEYS[:60]), max_size=30))
def test_order_and_repeats_do_not_change_the_sample(order: list[str], repeats: list[str]) -> None:
    assert taken([*order, *repeats], 10) == taken(KEYS[:60], 10)


def test_the_sample_of_parts_taken_together_is_the_sample_of_the_whole() -> None:
    parts = [taken(KEYS[start : start + 100]) for start in range(0, 500, 100)]
    assert taken([key for part in parts for key in part]) == taken(KEYS)


def test_another_seed_takes_other_records() -> None:
    assert taken(KEYS, seed=1) != taken(KEYS, seed=2)
    assert len(taken(KEYS)) == 20


def test_fewer_records_than_asked_for_are_all_taken_and_none_when_none_is_asked_for() -> None:
    assert taken(KEYS[:7]) == sorted(KEYS[:7])
    assert taken(KEYS, size=0) == []


def test_it_knows_which_of_some_keys_are_in_it_now() -> None:
    sample = Sample(3, 1)
    kept = [key for key in KEYS if sample.offer(key)]
    assert sorted(sample.among(kept)) == sample.keys()
