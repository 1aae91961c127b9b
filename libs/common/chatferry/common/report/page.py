"""The HTML form of a report: one file without anything from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from chatferry.common.report import charts, checks, words

_CHECK_WORDS = {
    "walk": "not read to the end",
    "gap": "portal claims more than it showed",
    "count": "counts differ",
    "pages": "page log does not prove what was read",
    "missing": "missing at the target",
    "extra": "too many at the target",
    "version": "another version",
    "hash": "another hash",
    "content": "content differs",
    "id": "another id",
    "sample": "sampled content differs",
    "participants": "participant differs",
    "mapping": "user not in the user map",
    "read_back": "target's answer unusable",
}
_SHOWN_AS_GAPS = ("walk", "gap")
_ENDS = {
    "IMPORT_OK": "the target took it, and has it no more",
    "NEW": "it still waits for the import",
    "ERROR_RETRY": "it waits for another attempt",
    "IMPORT_ERR": "it ended as a dead letter",
    "SKIPPED": "it was skipped after an earlier import",
}


def report_html(document: Mapping[str, Any]) -> str:
    """A page for a manager: the verdict, what arrived, what did not and why. Safe for any title in the document."""
    environment = Environment(
        loader=PackageLoader("chatferry.common.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=words.number, duration=words.duration, title=words.title, moment=words.moment, plain=plain_key
    )
    return environment.get_template("report.html.j2").render(**view(document))


def view(document: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the template shows, as it shows it."""
    gaps, kinds = [_gap(gap) for gap in document["gaps"]], document["mismatch_counts"]
    return {
        "doc": document,
        "verdict": _verdict(document),
        "headline": _headline(document),
        "tiles": _tiles(document),
        "entities": [_entity(document, name) for name in document["counts"]],
        "checks": checks.check_lines(document),
        "gaps": gaps,
        "mismatches": [_mismatch(row) for row in document["mismatches"] if row["check"] not in _SHOWN_AS_GAPS],
        "mismatch_total": sum(count for check, count in kinds.items() if check not in _SHOWN_AS_GAPS),
        "mismatch_kinds": [
            (_CHECK_WORDS.get(check, check), count) for check, count in kinds.items() if check not in _SHOWN_AS_GAPS
        ],
        "bars": charts.largest(document["chats"]),
        "stretches": charts.timeline(document["timings"], document["requested_at"], document["finished_at"]),
        "chats": [{**chat, "name": charts.name_of(chat)} for chat in document["chats"]],
        "family": words.title(document["family"]),
    }


def _verdict(document: Mapping[str, Any]) -> str:
    if document["verified"]:
        return "Verified"
    return "Test run, not verified" if document["test_limit"] is not None else "Not verified"


def _headline(document: Mapping[str, Any]) -> str:
    accepted = [gap for gap in document["gaps"] if gap["accepted_by"]]
    if document["verified"] and accepted:
        names = ", ".join(sorted({gap["accepted_by"] for gap in accepted}))
        gaps = words.many(len(accepted), "gap")
        return f"All that the portal showed arrived, compared record by record; {gaps} in it accepted by {names}."
    if document["verified"]:
        return "All of it arrived. What the portal had is what the target has, and it was compared record by record."
    if document["test_limit"] is not None:
        return "Only a part of the portal was read on purpose, so this run cannot prove that all of it arrived."
    count = len(document["reasons"])
    return f"Not everything is proved to have arrived. {words.many(count, 'reason').capitalize()}:"


def _tiles(document: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """A number, what it is, and whether it is bad."""
    arrived = [(words.number(row["imported"]), words.title(name), False) for name, row in document["counts"].items()]
    full = document["full"]
    differing = full["missing"] + full["extra"] + full["different"]
    return [*reversed(arrived), (words.number(differing), "Differences", differing > 0)]


def _entity(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    counts = document["counts"][name]
    most = max(*counts.values(), 1)
    steps = [("Source", "source"), ("Extracted", "extracted"), ("Imported", "imported"), ("Target", "target")]
    return {
        "name": words.title(name),
        "even": checks.even(document, name),
        "ledger": document["ledger"].get(name),
        "parents": _parents(document.get("ledger_per_parent", {}).get(name)),
        "steps": [
            {
                "label": label,
                "text": words.number(counts[key]) if counts[key] >= 0 else "unknown",
                "share": round(100 * max(counts[key], 0) / most, 2),
                "low": counts[key] != counts["source"],
            }
            for label, key in steps
        ],
    }


def _parents(per_parent: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Parents with a record that is not done; None: there are none."""
    if per_parent is None or not per_parent["unsettled"]:
        return None
    rows = [{**row, "name": charts.name_of(row)} for row in per_parent["rows"]]
    return {**per_parent, "rows": rows, "total": per_parent["settled"] + per_parent["unsettled"]}


def _gap(gap: Mapping[str, Any]) -> dict[str, Any]:
    why = gap["reason"] or {"unreadable": "no webhook may read it"}.get(gap["state"], "the portal gave no reason")
    size = words.number(gap["gap"]) if gap["claimed"] is not None else "unknown"
    return {**gap, "name": charts.name_of(gap), "why": why, "size": size, "accepted": _accepted(gap)}


def _accepted(gap: Mapping[str, Any]) -> str:
    """Who took it and why; empty: nobody."""
    return ": ".join(part for part in (gap["accepted_by"], gap.get("accepted_reason")) if part)


def gap_line(gap: Mapping[str, Any]) -> str:
    """One gap by its key, how large it is or why it is one, and who accepted it."""
    what = f"{gap['gap']} lacking" if gap["gap"] else gap["state"]
    why = f" ({gap['reason']})" if gap["reason"] else ""
    return f"{gap['key']}: {what}{why}, accepted by {_accepted(gap) or 'nobody'}"


def _mismatch(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "what": _CHECK_WORDS.get(row["check"], row["check"]),
        "record": plain_key(row["key"]),
        "parent": plain_key(row["parent"]) if row["parent"] else "",
        "field": plain_key(row["field"]),
        "detail": _detail(row["detail"]),
    }


def _detail(detail: Mapping[str, Any]) -> str:
    """Lengths, positions and hash prefixes in a line; what is not there is left out."""
    if "status" in detail:
        return _ENDS.get(detail["status"], "")
    if detail.get("source_hash") and "position" in detail:
        lengths = f"length {_or_dash(detail['source_length'])} → {_or_dash(detail['target_length'])}"
        return f"{lengths}, first difference at {words.number(detail['position'])}"
    parts = [f"{name.replace('_', ' ')} {value}" for name, value in detail.items() if value not in (None, False)]
    return ", ".join(parts)


def _or_dash(length: int | None) -> str:
    return words.number(length)


def plain_key(key: str) -> str:
    """A key without the word that all of them share: `chat:msg:84869`."""
    return key.removeprefix("source:")
