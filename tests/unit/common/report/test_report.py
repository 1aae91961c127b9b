"""The report's two forms."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from chatferry.common.report import gap_line, report_html, report_json

START = datetime(2026, 3, 4, 6, 42, 31, 250_000, tzinfo=UTC)
END = datetime(2026, 3, 4, 6, 43, 12, 500_000, tzinfo=UTC)


def document(**changes: Any) -> dict[str, Any]:
    four = dict.fromkeys(("source", "extracted", "imported", "target"), 7)
    made: dict[str, Any] = {
        "_id": "run-1",
        "verified": True,
        "project": "demo",
        "run": "run-1",
        "family": "chats",
        "seconds": 41.25,
        "counts": {"users": dict(four), "chats": dict(four), "chat_messages": dict(four)},
        "sample": {"checked": 7, "mismatches": 0, "seed": 1},
        "full": {"compared": 21, "missing": 0, "extra": 0, "different": 0},
        "participants": {"chats": 7, "mapped_share": 1.0, "different": 0},
        "dead_letters": {"dead": 0, "replayed": 0, "discarded": 0},
        "gaps": [],
        "altered": [],
        "altered_total": 0,
        "ledger": {"chat_messages": {"read": 7, "done": 7, "skipped": {}, "dead": 0, "waiting": 0}},
        "reasons": [],
        "reading_method": "im.dialog.messages.get",
        "test_limit": None,
        "whole": True,
        "not_readable": [],
        "mismatches": [],
        "mismatch_counts": {},
        "kept": {},
        "phases": ["get", "set", "verify"],
        "timings": {"get": {"started_at": START, "finished_at": END}, "verify": {"started_at": END}},
        "chats": [chat()],
        "chats_total": 1,
        "requested_at": START,
        "asked_at": START,
        "finished_at": END,
        "announced": False,
    }
    return {**made, **changes}


def chat(**changes: Any) -> dict[str, Any]:
    made = {"key": "source:chat:7", "title": "Отдел", "claimed": 7, "listed": 7, "stored": 7, "target": 7}
    return {**made, "gap": 0, "state": "closed", "differences": 0, **changes}


class Page(HTMLParser):
    """Tags as they open and close, to see that they pair; every address that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data.strip())

    @property
    def words(self) -> str:
        return " ".join(part for part in self.text if part)


def page(made: dict[str, Any]) -> Page:
    read = Page()
    read.feed(report_html(made))
    assert read.open == []
    assert read.loads == []
    return read


def test_the_json_is_plain_and_without_the_stores_own_fields() -> None:
    made = json.loads(json.dumps(report_json(document())))
    assert made["finished_at"] == "2026-03-04T06:43:12.500Z"
    assert made["timings"]["get"]["started_at"] == "2026-03-04T06:42:31.250Z"
    assert not {"_id", "announced", "asked_at"} & made.keys()
    assert list(made)[:3] == ["verified", "project", "run"]


def test_the_verdict_stands_first_on_the_page() -> None:
    assert "Verified All of it arrived." in page(document()).words
    assert "Nothing. No gap, no dead letter, no difference." in page(document()).words


def test_reasons_gaps_and_differences_are_told() -> None:
    gap = {"entity": "chats", "key": "source:chat:9", "title": None, "state": "unreadable", "claimed": None}
    mismatch = {"entity": "chat_messages", "key": "source:chat:msg:5", "parent": "source:chat:7", "check": "content"}
    words = page(
        document(
            verified=False,
            reasons=["1 record is different at the target"],
            gaps=[{**gap, "listed": 0, "gap": 0, "reason": None, "accepted_by": None}],
            mismatches=[
                {
                    **mismatch,
                    "field": "text",
                    "detail": {"source_length": 10, "target_length": 9, "position": 9, "source_hash": "a"},
                }
            ],
            mismatch_counts={"content": 1, "walk": 1},
        )
    ).words
    assert "Not verified" in words
    assert "1 record is different at the target." in words
    assert "chat 9 (no title)" in words
    assert "no webhook may read it" in words
    assert "chat:msg:5 in chat:7 content differs text length 10 → 9, first difference at 9" in words


def test_an_accepted_gap_is_named_with_who_accepted_it() -> None:
    gap = {"entity": "chats", "key": "source:chat:9", "title": None, "state": "closed", "claimed": 9, "listed": 6}
    accepted = {"gap": 3, "reason": "history hidden", "accepted_by": "olga", "accepted_reason": "<before my time>"}
    words = page(document(gaps=[gap | accepted])).words
    assert "1 gap in it accepted by olga." in words
    assert "olga: <before my time>" in words
    line = "source:chat:9: 3 lacking (history hidden), accepted by olga: <before my time>"
    assert gap_line(gap | accepted) == line
    nobody = {**gap, "state": "failed", "gap": 0, "reason": None, "accepted_by": None}
    assert gap_line(nobody) == "source:chat:9: failed, accepted by nobody"


def test_a_test_run_says_that_it_is_one() -> None:
    assert "Test run, not verified" in page(document(verified=False, test_limit=5, reasons=["test limit: 5"])).words


@pytest.mark.parametrize("title", ["<script>alert(1)</script>", '"><img src=x>', "{{ 7 * 7 }}", "\u202e&amp;"])
def test_a_hostile_title_is_only_text(title: str) -> None:
    read = page(document(chats=[chat(title=title)]))
    assert title in read.words


def test_an_empty_portal_has_a_page_too() -> None:
    none = dict.fromkeys(("source", "extracted", "imported", "target"), 0)
    empty = document(
        counts={"chats": none},
        chats=[],
        chats_total=0,
        ledger={},
        timings={},
        participants={"chats": 0, "mapped_share": 1.0, "different": 0},
    )
    assert "Verified" in page(empty).words


def settled(rows: int, unsettled: int) -> dict[str, Any]:
    row = {"read": 4, "done": 1, "skipped": {"discarded": 1}, "dead": 1, "waiting": 1, "title": None}
    return {
        "settled": 99_000,
        "unsettled": unsettled,
        "rows": [{"key": f"source:chat:{n}", **row} for n in range(rows)],
    }


def test_chats_with_a_record_that_is_not_done_have_their_own_ledger() -> None:
    words = page(document(ledger_per_parent={"chat_messages": settled(1, 1)})).words
    assert "1 of 99 001 chats: not all of them done" in words.replace("\u202f", " ").replace("\xa0", " ")
    assert "chat 0 (no title) 4 1 1 1 discarded 1 1" in words


def test_the_ledger_of_many_chats_is_cut_and_says_so() -> None:
    words = page(document(ledger_per_parent={"chat_messages": settled(100, 1_000)})).words
    assert "The first 100, those with dead ones before the others." in words


def test_where_all_is_done_no_chat_has_a_ledger_of_its_own() -> None:
    assert "not all of them done" not in page(document(ledger_per_parent={"chat_messages": settled(0, 0)})).words
