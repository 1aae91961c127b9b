"""The report's document: everything that its JSON and its page show (shape: docs of `chatferry.common.report`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chatferry.common.entities import Family
from chatferry.verifier.domain.facts import ChatLine, Facts, Run
from chatferry.verifier.domain.judgement import reasons

MISMATCHES_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Written:
    """What was read for the report at its end. `names`: titles of roots; `seconds`: lengths of the verify steps."""

    report: str
    started_at: datetime
    finished_at: datetime
    mismatches: Sequence[Mapping[str, Any]]
    names: Mapping[str, str]
    table: Sequence[ChatLine]
    seconds: Mapping[str, float]
    seed: int


def report_document(run: Run, family: Family, facts: Facts, written: Written) -> dict[str, Any]:
    """One `verify_reports` document. The first keys are those of the report's published shape."""
    against = reasons(run, facts)
    return {
        "_id": written.report,
        "verified": not against,
        "project": run.project,
        "run": run.id,
        "family": family.name,
        "seconds": round((written.finished_at - run.requested_at).total_seconds(), 3),
        "counts": {entity: counts.as_json() for entity, counts in facts.counts.items()},
        "kept": {entity: counts.kept for entity, counts in facts.counts.items() if counts.kept},
        **_comparisons(facts, written.seed),
        "dead_letters": facts.dead_letters,
        "gaps": [gap | {"title": written.names.get(gap["key"])} for gap in facts.gaps],
        "altered": facts.altered,
        "altered_total": facts.altered_total,
        "ledger": {entity: counts.ledger for entity, counts in facts.counts.items()},
        "ledger_per_parent": _per_parent(facts, written.names),
        "reasons": against,
        "reading_method": run.method,
        "test_limit": run.test_limit,
        "whole": run.whole,
        "not_readable": [row | {"title": written.names.get(row["key"])} for row in facts.not_readable],
        "mismatches": [dict(mismatch) for mismatch in written.mismatches],
        "mismatch_counts": dict(sorted(facts.mismatches.items())),
        "phases": list(run.phases),
        "timings": _timings(run, written),
        "chats": [_line(line, written.names) for line in written.table],
        "chats_total": facts.lines_total,
        "requested_at": run.requested_at,
        "asked_at": run.asked_at,
        "finished_at": written.finished_at,
        "announced": False,
    }


def _comparisons(facts: Facts, seed: int) -> dict[str, dict[str, Any]]:
    full = facts.full
    return {
        "sample": {"checked": facts.sample_checked, "mismatches": facts.sample_mismatches, "seed": seed},
        "full": {
            "compared": full.compared,
            "missing": full.missing,
            "extra": full.extra,
            "different": full.different,
        },
        "participants": {
            "chats": facts.roots_compared,
            "mapped_share": _share(facts.users - facts.unmapped, facts.users),
            "different": facts.different_users,
        },
    }


def _share(mapped: int, users: int) -> float:
    """Rounded down, so that 1.0 means all of them."""
    return 1.0 if mapped == users else int(10_000 * mapped / users) / 10_000


def _timings(run: Run, written: Written) -> dict[str, Any]:
    verify = {
        "started_at": written.started_at,
        "finished_at": written.finished_at,
        "steps": {name: round(seconds, 3) for name, seconds in written.seconds.items()},
    }
    return {**run.timings, "verify": {**(run.timings.get("verify") or {}), **verify}}


def _per_parent(facts: Facts, names: Mapping[str, str]) -> dict[str, Any]:
    of = {entity: counts.per_parent for entity, counts in facts.counts.items() if counts.per_parent is not None}
    return {
        entity: {**parents, "rows": [row | {"title": names.get(row["key"])} for row in parents["rows"]]}
        for entity, parents in of.items()
    }


def _line(line: ChatLine, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "key": line.key,
        "title": names.get(line.key),
        "claimed": line.claimed,
        "listed": line.listed,
        "stored": line.stored,
        "target": line.target,
        "gap": line.gap,
        "state": line.state,
        "differences": line.differences,
    }
