"""Each thing that can be wrong is a reason of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from chatferry.verifier.domain.comparison import Tally
from chatferry.verifier.domain.facts import Counts, Facts, Run
from chatferry.verifier.domain.judgement import reasons

RUN = Run(
    id="r",
    project="p",
    family="chats",
    phase="verify",
    phases=("verify",),
    requested_at=datetime(2026, 1, 1, tzinfo=UTC),
    asked_at=None,
    test_limit=None,
    whole=True,
    method=None,
    timings={},
)


def counts(**changes: Any) -> Counts:
    ledger = {"read": 10, "done": 10, "skipped": {}, "dead": 0, "waiting": 0, **changes.pop("ledger", {})}
    fields = {"source": 10, "extracted": 10, "imported": 10, "target": 10, "kept": 0, "balanced": True, **changes}
    return Counts(**fields, ledger=ledger)


def facts(change: Callable[[Facts], Any] = lambda _facts: None) -> Facts:
    made = Facts(counts={"chat_messages": counts()}, full=Tally(10, 10, 10))
    change(made)
    return made


def test_without_a_reason_a_run_is_verified() -> None:
    assert reasons(RUN, facts()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: setattr(f, "open_walks", 1), "1 walk of the portal is not closed"),
        (lambda f: setattr(f, "open_gaps", 2), "2 gaps between what the portal claims"),
        (lambda f: f.counts.update(chats=counts(balanced=False)), "the ledger of chats does not balance"),
        (lambda f: f.counts.update(chats=counts(ledger={"dead": 1})), "1 record of chats is dead"),
        (lambda f: f.counts.update(chats=counts(ledger={"waiting": 3})), "3 records of chats are still waiting"),
        (lambda f: f.counts.update(chats=counts(target=9)), "the counts of chats differ"),
        (lambda f: f.counts.update(chats=counts(imported=9)), "the counts of chats differ"),
        (lambda f: setattr(f, "full", Tally(10, 9, 9, missing=1)), "1 record is missing at the target"),
        (lambda f: setattr(f, "full", Tally(10, 11, 10, extra=1)), "1 record at the target is not at the source"),
        (lambda f: setattr(f, "full", Tally(10, 10, 10, different=2)), "2 records are different at the target"),
        (
            lambda f: setattr(f, "partial", ["users", "chats"]),
            "only a part was read (test limit, or a Get that did not end) of users and chats",
        ),
        (lambda f: setattr(f, "mismatches", Counter(pages=1)), "1 account of what was read is not proved"),
        (lambda f: setattr(f, "mismatches", Counter(count=1)), "1 count inside single chats is different"),
        (lambda f: setattr(f, "unreadable", 1), "1 list of the target is not readable"),
        (lambda f: setattr(f, "sample_mismatches", 1), "1 record of the sample is different"),
        (lambda f: setattr(f, "different_users", 1), "1 list of participants is different at the target"),
        (lambda f: setattr(f, "dead_letters", {"dead": 1}), "1 dead letter is of no record that was read"),
        (lambda f: setattr(f, "unmapped", 4), "4 mentions of users are not in the user map"),
    ],
)
def test_each_fault_is_said_in_a_sentence(change: Callable[[Facts], Any], words: str) -> None:
    (sentence,) = reasons(RUN, facts(change))
    assert sentence.startswith(words)


def test_a_test_limit_is_a_reason_even_when_all_else_is_well() -> None:
    (sentence,) = reasons(replace(RUN, test_limit=5), facts(lambda f: f.partial.append("chats")))
    assert sentence.startswith("test limit")


def test_what_was_skipped_with_a_reason_is_no_difference() -> None:
    skipped = counts(imported=9, target=9, ledger={"done": 9, "skipped": {"discarded": 1}})
    kept = counts(imported=9, target=10, kept=1, ledger={"done": 9, "skipped": {"discarded": 1}})
    assert reasons(RUN, facts(lambda f: f.counts.update(chats=skipped, users=kept))) == []
