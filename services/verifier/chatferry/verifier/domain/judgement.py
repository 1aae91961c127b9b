"""When a run is verified (design: data.md §6): if and only if no reason against it is left."""

from __future__ import annotations

from collections.abc import Iterator

from chatferry.verifier.domain.facts import Counts, Facts, Run


def reasons(run: Run, facts: Facts) -> list[str]:
    """Why the run is not verified, a sentence each; empty: it is."""
    return [
        *_of_the_source(run, facts),
        *[sentence for entity, counts in facts.counts.items() for sentence in _of_counts(entity, counts)],
        *_of_dead_letters(facts),
        *_of_the_target(facts),
    ]


def _of_the_source(run: Run, facts: Facts) -> Iterator[str]:
    if run.test_limit is not None:
        yield f"test limit: this run read at most {run.test_limit} of each kind, so it proves nothing about the rest"
    elif facts.partial:
        yield f"only a part was read (test limit, or a Get that did not end) of {' and '.join(facts.partial)}"
    if facts.open_walks:
        yield f"{_are(facts.open_walks, 'walk', 'of the portal')} not closed: a part of it was not read to the end"
    if facts.open_gaps:
        gaps = _are(facts.open_gaps, "gap", "between what the portal claims and what it showed")
        yield f"{gaps} accepted by nobody; `chatferry accept KEY --by NAME` takes one that may stay"


def _of_counts(entity: str, counts: Counts) -> Iterator[str]:
    ledger, of = counts.ledger, f"of {entity}"
    skipped = sum(ledger["skipped"].values())
    if not counts.balanced:
        yield (
            f"the ledger {of} does not balance: {ledger['read']} read, {ledger['done']} done, "
            f"{skipped} skipped, {ledger['dead']} dead, {ledger['waiting']} waiting"
        )
    if ledger["dead"]:
        yield f"{_are(ledger['dead'], 'record', of)} dead: the dead letters say why"
    if ledger["waiting"]:
        yield f"{_are(ledger['waiting'], 'record', of)} still waiting for the import"
    expected = counts.extracted - skipped + counts.kept
    if not counts.imported + counts.kept == counts.target == expected:
        yield (
            f"the counts {of} differ: {expected} expected at the target, "
            f"{counts.imported + counts.kept} imported, {counts.target} there"
        )


def _of_dead_letters(facts: Facts) -> Iterator[str]:
    """Dead records are told with their entity; what is left came from elsewhere, or could not even be decoded."""
    records = facts.dead_letters.get("dead", 0) - facts.doubled_letters
    strangers = records - sum(counts.ledger["dead"] for counts in facts.counts.values())
    if strangers > 0:
        yield f"{_are(strangers, 'dead letter')} of no record that was read: look at it, then replay or discard it"


def _of_the_target(facts: Facts) -> Iterator[str]:
    full = facts.full
    if full.missing:
        yield f"{_are(full.missing, 'record')} missing at the target"
    if full.extra:
        yield f"{_are(full.extra, 'record', 'at the target')} not at the source"
    if full.different:
        yield f"{_are(full.different, 'record')} different at the target"
    if facts.mismatches["pages"]:
        yield f"{_are(facts.mismatches['pages'], 'account', 'of what was read')} not proved by the page log"
    if facts.mismatches["count"]:
        yield f"{_are(facts.mismatches['count'], 'count', 'inside single chats')} different"
    if facts.unreadable:
        yield f"{_are(facts.unreadable, 'list', 'of the target')} not readable"
    if facts.sample_mismatches:
        yield f"{_are(facts.sample_mismatches, 'record', 'of the sample')} different"
    if facts.different_users:
        yield f"{_are(facts.different_users, 'list', 'of participants')} different at the target"
    if facts.unmapped:
        yield f"{_are(facts.unmapped, 'mention', 'of users')} not in the user map (a user counts once per chat)"


def _are(count: int, word: str, of: str = "") -> str:
    """`1 walk of the portal is`, `3 records are`."""
    subject = f"{count} {word}" if count == 1 else f"{count} {word}s"
    return " ".join(part for part in (subject, of, "is" if count == 1 else "are") if part)
