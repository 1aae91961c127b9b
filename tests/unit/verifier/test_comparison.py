"""The full comparison, held against what sets say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatferry.common.contracts.canonical import payload_hash
from chatferry.verifier.domain.comparison import Comparison, Finding, Fingerprint, Kind, OutOfOrderError
from chatferry.verifier.domain.lines import SourceLine, TargetItem, seq_of

PREFIX = "source:chat:msg:"


def line(seq: int, *, text: str = "a", version: int = 1, status: str = "IMPORT_OK") -> SourceLine:
    content = payload_hash({"text": text})
    there = (version, (), content, f"t{seq}") if status == "IMPORT_OK" else (None, (), None, None)
    return SourceLine(f"{PREFIX}{seq}", seq, version, content, status, *there)


def item(seq: int, *, text: str = "a", version: int = 1, key: str | None = None) -> TargetItem:
    key = key or f"{PREFIX}{seq}"
    return TargetItem(key, f"t{seq}", seq_of(key), version, payload_hash({"text": text}), {"text": text})


def pages(rows: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)] or [()]


def compared(
    lines: Iterable[SourceLine], items: Iterable[TargetItem], size: int = 2
) -> tuple[Comparison, list[Finding]]:
    comparison, findings = Comparison(), []
    source, target = pages(list(lines), size), pages(list(items), size + 1)
    while not comparison.finished:
        if comparison.wants_lines:
            comparison.feed_lines(source.pop(0), last=len(source) == 0)
        if comparison.wants_items:
            comparison.feed_items(target.pop(0), last=len(target) == 0)
        findings += comparison.advance()
    return comparison, findings


rows = st.dictionaries(st.integers(1, 30), st.tuples(st.sampled_from("ab"), st.integers(1, 2)), max_size=25)


@given(source=rows, target=rows, size=st.integers(1, 8))
def test_it_finds_exactly_what_sets_find(
    source: dict[int, tuple[str, int]], target: dict[int, tuple[str, int]], size: int
) -> None:
    lines = [line(seq, text=text, version=version) for seq, (text, version) in sorted(source.items())]
    items = [item(seq, text=text, version=version) for seq, (text, version) in sorted(target.items())]
    comparison, findings = compared(lines, items, size)
    found = {kind: {seq_of(one.key) for one in findings if one.kind is kind} for kind in Kind}
    both = source.keys() & target.keys()
    assert found[Kind.MISSING] == source.keys() - target.keys()
    assert found[Kind.EXTRA] == target.keys() - source.keys()
    assert found[Kind.DIFFERENT] == {seq for seq in both if source[seq] != target[seq]}
    tally = comparison.tally
    assert (tally.source, tally.target, tally.compared) == (len(source), len(target), len(both))
    assert (tally.missing, tally.extra, tally.different) == tuple(len(found[kind]) for kind in Kind)
    assert tally.clean is (source == target)


def test_data_that_do_not_fit_the_stated_hash_differ() -> None:
    forged = item(1)._replace(data={"text": "forged"})
    _, findings = compared([line(1)], [forged])
    assert [(one.kind, one.content_hash) for one in findings] == [(Kind.DIFFERENT, payload_hash({"text": "forged"}))]


def test_a_record_listed_twice_is_one_too_many() -> None:
    _, findings = compared([line(1), line(2)], [item(1), item(2), item(2)])
    assert [(one.kind, one.key, one.twice) for one in findings] == [(Kind.EXTRA, f"{PREFIX}2", True)]


@pytest.mark.parametrize("key", ["elsewhere", "source:chat:2", "other:2"])
def test_a_record_with_a_foreign_key_is_one_too_many(key: str) -> None:
    _, findings = compared([line(1), line(2)], [item(1), item(2, key=key), item(2)])
    assert [(one.kind, one.key) for one in findings] == [(Kind.EXTRA, key)]


def test_a_list_that_goes_back_is_refused() -> None:
    with pytest.raises(OutOfOrderError) as refused:
        compared([line(1), line(2), line(3)], [item(2), item(3), item(1)])
    assert refused.value.key == f"{PREFIX}1"


def test_a_skipped_record_may_be_absent_and_must_not_be_there() -> None:
    skipped = line(1, status="SKIPPED")
    assert compared([skipped], [])[1] == []
    assert [one.kind for one in compared([skipped], [item(1)])[1]] == [Kind.EXTRA]


def test_a_skipped_record_that_was_imported_before_must_still_be_there_as_it_was() -> None:
    before = payload_hash({"text": "b"})
    skipped = line(1, status="SKIPPED", version=5)._replace(imported_version=4, imported_hash=before)
    assert compared([skipped], [item(1, text="b", version=4)])[1] == []
    assert [one.kind for one in compared([skipped], [])[1]] == [Kind.MISSING]
    assert [one.kind for one in compared([skipped], [item(1, version=4)])[1]] == [Kind.DIFFERENT]


def test_a_record_with_another_id_than_the_target_gave_it_is_different() -> None:
    assert [one.kind for one in compared([line(1)], [item(1)._replace(id="t2")])[1]] == [Kind.DIFFERENT]
    assert compared([line(1)._replace(target_id=None)], [item(1)])[1] == []


def test_the_fingerprint_moves_with_content_and_with_imports() -> None:
    old = [line(1), line(2)]
    first = compared(old, [])[0].fingerprint
    assert first == Fingerprint(stored=2, ok=2, version=1, imported_version=1)
    changed = [line(1), line(2, version=9, status="NEW")]
    imported = [line(1), line(2, version=9)]
    assert len({first, compared(changed, [])[0].fingerprint, compared(imported, [])[0].fingerprint}) == 3


@pytest.mark.parametrize(
    ("key", "seq"),
    [("source:chat:msg:84869", 84869), ("source:user:0", 0), ("source:x:", None), ("source:x:-1", None), ("٣", None)],
)
def test_the_place_of_a_record_is_the_number_at_its_keys_end(key: str, seq: int | None) -> None:
    assert seq_of(key) == seq
