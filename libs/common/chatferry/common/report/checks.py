"""The checks behind a verdict, each with its result in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatferry.common.report.words import many, number


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One check: `good` or not, and what it saw."""

    name: str
    good: bool
    says: str


def check_lines(document: Mapping[str, Any]) -> list[CheckLine]:
    """Every check, in the order in which a reader asks."""
    return [
        _walks(document),
        _counts(document),
        _ledger(document),
        _full(document),
        _sample(document),
        _participants(document),
        _dead(document),
    ]


def _walks(document: Mapping[str, Any]) -> CheckLine:
    found = document["mismatch_counts"]
    walks, gaps = found.get("walk", 0), found.get("gap", 0)
    accepted = sum(1 for gap in document["gaps"] if gap["accepted_by"])
    if walks or gaps:
        says = f"{many(walks, 'walk')} not closed, {many(gaps, 'gap')} that nobody has accepted."
    elif accepted:
        says = f"Everything was read to both ends; {many(accepted, 'gap')} accepted by name."
    else:
        says = "Everything that the portal says it has was read, to both ends."
    return CheckLine("Read completely", not (walks or gaps), says)


def _counts(document: Mapping[str, Any]) -> CheckLine:
    different = document["mismatch_counts"].get("count", 0)
    wrong = [entity.replace("_", " ") for entity, counts in document["counts"].items() if not even(document, entity)]
    total = sum(counts["target"] for counts in document["counts"].values() if counts["target"] > 0)
    chats = many(document["chats_total"], "chat")
    if wrong:
        return CheckLine("Counts", False, f"The totals of {', '.join(wrong)} differ on the way to the target.")
    if different:
        return CheckLine(
            "Counts", False, f"The totals agree, but {many(different, 'count')} inside single chats differ."
        )
    return CheckLine("Counts", True, f"{number(total)} records counted at the target, in total and in each of {chats}.")


def even(document: Mapping[str, Any], entity: str) -> bool:
    """Source, extracted, imported and target agree, but for what was skipped with a reason. Of that the target may have
    kept an older version."""
    counts, ledger = document["counts"][entity], document["ledger"].get(entity, {})
    skipped = sum(ledger.get("skipped", {}).values())
    kept = document["kept"].get(entity, 0)
    arrived = counts["imported"] + kept == counts["target"] == counts["extracted"] - skipped + kept
    return bool(arrived and counts["source"] == counts["extracted"])


def _ledger(document: Mapping[str, Any]) -> CheckLine:
    rows = document["ledger"].values()
    waiting = sum(row["waiting"] for row in rows)
    off = [
        row for row in rows if row["read"] != row["done"] + sum(row["skipped"].values()) + row["dead"] + row["waiting"]
    ]
    skipped = sum(sum(row["skipped"].values()) for row in rows)
    if document["mismatch_counts"].get("pages"):
        return CheckLine("Ledger", False, "The log of the pages that were read does not prove what was read.")
    if off:
        return CheckLine("Ledger", False, "What was read is not what became of it: the ledger does not balance.")
    if waiting:
        return CheckLine("Ledger", False, f"{many(waiting, 'record')} still waiting for the import.")
    left_out = f", {many(skipped, 'record')} skipped with a reason" if skipped else ""
    return CheckLine("Ledger", True, f"Every record that was read has an end{left_out}; nothing waits.")


def _full(document: Mapping[str, Any]) -> CheckLine:
    full = document["full"]
    unreadable = document["mismatch_counts"].get("read_back", 0)
    compared = f"{many(full['compared'], 'record')} read back and compared"
    if unreadable:
        return CheckLine("Full comparison", False, f"{compared}; {many(unreadable, 'answer')} of the target unusable.")
    if full["missing"] or full["extra"] or full["different"]:
        lacks = f"{number(full['missing'])} missing, {number(full['extra'])} too many"
        return CheckLine("Full comparison", False, f"{compared}: {lacks}, {number(full['different'])} different.")
    return CheckLine(
        "Full comparison", True, f"{compared}, both ways: each is there once, equal to the last character."
    )


def _sample(document: Mapping[str, Any]) -> CheckLine:
    sample = document["sample"]
    seed = f"(seed {sample['seed']})"
    if sample["mismatches"]:
        says = f"{number(sample['mismatches'])} of {number(sample['checked'])} sampled records differ {seed}."
        return CheckLine("Sample", False, says)
    return CheckLine("Sample", True, f"{many(sample['checked'], 'record')} fetched one by one {seed}: no difference.")


def _participants(document: Mapping[str, Any]) -> CheckLine:
    people = document["participants"]
    unmapped = document["mismatch_counts"].get("mapping", 0)
    if people["different"] or unmapped:
        chats = many(people["different"], "chat").capitalize()
        says = f"{chats} with other participants, {many(unmapped, 'mention')} of unmapped users."
        return CheckLine("Participants", False, says)
    share = f"{people['mapped_share']:.0%}"
    return CheckLine(
        "Participants",
        True,
        f"{share} of the users mapped, the same people in each of {many(people['chats'], 'chat')}.",
    )


def _dead(document: Mapping[str, Any]) -> CheckLine:
    dead = sum(row["dead"] for row in document["ledger"].values())
    letters = document["dead_letters"]
    settled = ", ".join(
        f"{number(letters[state])} {state}" for state in ("replayed", "discarded") if letters.get(state)
    )
    if dead or letters.get("dead"):
        most = max(dead, letters.get("dead", 0))
        return CheckLine(
            "Dead letters", False, f"{many(most, 'record')} could not be delivered: see `chatferry dlq list`."
        )
    return CheckLine("Dead letters", True, f"No record was given up{f' ({settled})' if settled else ''}.")
