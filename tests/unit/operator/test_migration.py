"""How a migration ends: what is said of it, and whether the command may end with 0."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from chatferry.common.counts import Count
from chatferry.common.entities import Family
from chatferry.operator import migration
from chatferry.operator.folder import Folder
from chatferry.operator.lacking import Lacking
from chatferry.operator.migration import Migration
from chatferry.operator.runs import Options

VERIFIED = {"verified": True, "reasons": [], "gaps": [], "seconds": 1.0}
GAP = {"key": "source:chat:84", "gap": 2, "state": "closed", "reason": None, "accepted_by": None}


def count(imported: int = 0, waiting: int = 0) -> Count:
    stored = imported + waiting
    return Count("chat_messages", stored, stored, stored, imported, 0, 0, 0, waiting, 0)


class Store:
    """A project whose runs end as a test says, one after another."""

    database = None

    def __init__(self, *ends: dict[str, Any], counts: tuple[Count, ...] = ()) -> None:
        self.ends, self.asked = list(ends), list[str]()
        self._counts = list(counts)

    async def ask(self, family: str, _options: Options) -> str:
        self.asked.append(family)
        return family

    async def counts(self, _family: Family, _run: str) -> list[Count]:
        return [self._counts.pop(0)] if self._counts else [count()]

    async def report(self, _run: str) -> dict[str, Any] | None:
        report: dict[str, Any] | None = self.ends.pop(0).get("report")
        return report


class Said:
    """A migration, and what it said."""

    def __init__(self, store: Store, folder: Path, left: Lacking, monkeypatch: pytest.MonkeyPatch) -> None:
        class Follower:
            def __init__(self, *_: object) -> None:
                return

            async def follow(self, _run: str, _family: Family) -> dict[str, Any]:
                return store.ends[0]

        async def lacks(*_: object, delivered: bool) -> Lacking:
            return left if delivered else Lacking(left.dead, {}, left.gaps, left.gaps_total)

        monkeypatch.setattr(migration, "Follower", Follower)
        monkeypatch.setattr(migration, "lacking", lacks)
        monkeypatch.setattr(Migration, "_write", lambda *_: None)
        self._stream = io.StringIO()
        console = Console(file=self._stream, width=200)
        self.migration = Migration(Folder(folder / "[x]"), store, console)  # type: ignore[arg-type]

    async def of(self, *phases: str, users: bool = False) -> bool:
        options = Options(phases or ("get", "set", "verify"))  # type: ignore[arg-type]
        return await self.migration.migrate("chats", options, with_needs=users)

    @property
    def text(self) -> str:
        return self._stream.getvalue()


DONE = {"state": "completed", "published": 1}


@pytest.mark.parametrize(
    ("left", "sentence"),
    [
        (Lacking(dead={"chat_messages": 3}), "3 records of chat_messages are dead: `chatferry dlq list` says why"),
        (Lacking(dead={"users": 1}), "1 record of users is dead: `chatferry dlq list` says why"),
        (Lacking(waiting={"chat_messages": 2}), "2 records of chat_messages are still waiting for the import"),
        (Lacking(gaps=[GAP], gaps_total=1), "1 gap is accepted by nobody; `chatferry accept KEY --by NAME`"),
    ],
)
async def test_what_was_not_delivered_is_named_and_the_end_is_not_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: Lacking, sentence: str
) -> None:
    said = Said(Store(DONE), tmp_path, left, monkeypatch)
    assert not await said.of("get", "set")
    assert "chats: get, set done, but not with everything; nothing was verified" in said.text
    assert f"  - {sentence}" in said.text
    assert ("gap: source:chat:84: 2 lacking, accepted by nobody" in said.text) is bool(left.gaps)


@pytest.mark.parametrize("left", [Lacking(dead={"chats": 1}), Lacking(gaps=[GAP], gaps_total=1)])
async def test_a_get_alone_ends_well_only_if_all_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: Lacking
) -> None:
    assert not await Said(Store(DONE), tmp_path, left, monkeypatch).of("get")


async def test_that_records_wait_after_a_get_alone_is_as_it_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(DONE, counts=(count(), count(waiting=7)))
    said = Said(store, tmp_path, Lacking(waiting={"chat_messages": 7}), monkeypatch)
    assert await said.of("get")
    assert "chats: get done (waiting: 7); nothing was verified" in said.text


async def test_records_that_had_waited_are_not_called_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unchanged = {"state": "verified", "report": VERIFIED}
    said = Said(Store(unchanged, counts=(count(1, 7), count(8))), tmp_path, Lacking(), monkeypatch)
    assert await said.of()
    assert "nothing has changed at the portal since the last run; imported of what had waited: 7" in said.text
    assert "nothing was moved" not in said.text
    again = Said(Store(unchanged, counts=(count(8), count(8))), tmp_path, Lacking(), monkeypatch)
    assert await again.of()
    assert "nothing has changed at the portal since the last run; nothing was moved" in again.text


@pytest.mark.parametrize("written", ["agreed [/JIRA-7]", "agreed [qa team]", "[bold]", "\\[x]"])
async def test_why_a_run_ended_is_shown_word_for_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    said = Said(Store({"state": "blocked", "reason": f"because {written}"}), tmp_path, Lacking(), monkeypatch)
    assert not await said.of()
    assert f"chats: blocked: because {written}" in said.text
    report = {**VERIFIED, "verified": False, "reasons": [f"reason {written}"]}
    said = Said(Store({"state": "incomplete", "report": report}), tmp_path, Lacking(), monkeypatch)
    assert not await said.of()
    assert f"  - reason {written}" in said.text
    assert "[x]/report/chats.html" in said.text


async def test_chats_that_are_not_begun_because_of_the_users_are_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = {**VERIFIED, "verified": False, "reasons": ["1 record of users is dead"]}
    store = Store({"state": "incomplete", "report": report})
    said = Said(store, tmp_path, Lacking(), monkeypatch)
    assert not await said.of(users=True)
    assert store.asked == ["users"]
    assert said.text.splitlines()[-1] == (
        "chats: not begun, because users did not end well; see to them first,"
        " or go on without: `chatferry migrate chats --no-users`"
    )
