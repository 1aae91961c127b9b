"""What holds after every disturbance: verified, equal record by record, nothing dead, a stranger's ledger agrees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from tests.chaos.frame import Chaos, Json
from tools.ledger_expected import differing

ROOT = Path(__file__).resolve().parents[2]
CHECKER = ROOT / "tools" / "check_ledger.py"
_CHECK_S = 240.0
_BACK_S = 60.0


def prove(chaos: Chaos, run: Json) -> int:
    """Every promise about the end of a run; the number of messages that it was about."""
    assert run["state"] == "verified", f"{run}\n{_report(chaos, run)}\n{chaos.story()}"
    assert_nothing_is_left(chaos)
    messages = assert_equal(chaos)
    _assert_report(chaos, run, messages)
    assert_ledger_agrees(chaos)
    assert chaos.processes.failed() is None
    return messages


def _report(chaos: Chaos, run: Json) -> Any:
    report = chaos.database.verify_reports.find_one({"run": run["_id"]}, sort=[("finished_at", -1)])
    mismatches = list(chaos.database.mismatches.find({}, limit=10))
    return {"report": report and {k: report.get(k) for k in ("reasons", "gaps", "counts")}, "mismatches": mismatches}


def _assert_report(chaos: Chaos, run: Json, messages: int) -> None:
    report = chaos.database.verify_reports.find_one({"run": run["_id"], "finished_at": {"$ne": None}})
    assert report is not None
    assert report["verified"] is True
    if run["family"] == "chats":
        counts = report["counts"]["chat_messages"]
        assert set(counts.values()) == {messages}, counts
    assert {report["full"][what] for what in ("missing", "extra", "different")} == {0}, report["full"]


def assert_nothing_is_left(chaos: Chaos) -> None:
    """No record waits, and none ended as a dead letter."""
    assert list(chaos.database.dead_letters.find({}, {"raw": 0}, limit=5)) == []
    assert chaos.database.parked.count_documents({}) == 0
    for entity in ("users", "chats", "chat_messages"):
        assert chaos.database[entity].distinct("status") == ["IMPORT_OK"], entity


def assert_equal(chaos: Chaos) -> int:
    """What the target lists is what the portal has, in every field; the number of messages."""
    truth = f"{chaos.control.url}/truth"
    with httpx.Client(timeout=60) as http:
        owner = http.get(truth).json()["webhooks"][0]["user_id"]
        users = {row["id"]: row for row in http.get(f"{truth}/{owner}/users").json()}
        chats = {row["id"]: row for row in http.get(f"{truth}/{owner}/chats").json()}
        there = _once(chaos, "chats")
        assert there.keys() == chats.keys(), there.keys() ^ chats.keys()
        _assert_same(chats, there, users)
        messages = by_chat(chaos, "chat_messages")
        for number in chats:
            rows = http.get(f"{truth}/{owner}/messages", params={"chat_id": number}).text.splitlines()
            wanted, data = {row["id"]: row for row in map(json.loads, rows)}, messages.pop(number, {})
            lost = {one for one, message in data.items() if one not in wanted and message["deleted"]}
            assert data.keys() - lost == wanted.keys(), f"chat {number}: {sorted(data.keys() ^ wanted.keys())[:10]}"
            _assert_same(wanted, data, users)
    assert messages.keys() == set(), "messages of chats that the portal does not have"
    _assert_users(chaos, users)
    return int(sum(chat["message_count"] for chat in chats.values()))


def _assert_same(wanted: dict[int, Json], there: dict[int, Json], users: dict[int, Json]) -> None:
    for number, row in wanted.items():
        names = differing(row, there[number], users)
        assert names == [], f"{number} is not as on the portal: {names}"


def _assert_users(chaos: Chaos, users: dict[int, Json]) -> None:
    """Those whom user.get lists, and those whom records name."""
    there = _once(chaos, "users")
    assert {number for number, user in users.items() if user["listed"] and not user["bot"]} <= there.keys()
    assert there.keys() <= users.keys()
    _assert_same({number: users[number] for number in there}, there, users)


def _once(chaos: Chaos, entity: str) -> dict[int, Json]:
    items = list(listed(chaos, entity))
    by_id = {item["data"]["id"]: item["data"] for item in items}
    assert len(by_id) == len(items), f"the target has doubles of {entity}"
    assert len({item["id"] for item in items}) == len(items), f"the target gave an id of its own twice: {entity}"
    return by_id


def by_chat(chaos: Chaos, entity: str) -> dict[int, dict[int, Json]]:
    """Messages at the target by chat and id."""
    found: dict[int, dict[int, Json]] = defaultdict(dict)
    for number, data in _once(chaos, entity).items():
        found[data["chat_id"]][number] = data
    return found


def listed(chaos: Chaos, entity: str) -> Iterator[Json]:
    """Everything of an entity that the target lists, read with the protocol alone."""
    url = Path(chaos.project.rest_url_file).read_text(encoding="utf-8").strip()
    family, after = "users" if entity == "users" else "chats", None
    with httpx.Client(timeout=60) as http:
        while True:
            page = _page(http, f"{url}/import.{family}.list", {"entity": entity, "after": after, "limit": 500})
            yield from page["items"]
            after = page["next"]
            if after is None:
                return


def _page(http: httpx.Client, url: str, body: Json) -> Json:
    """An answer of the target: asked again while it says with 503 when to, as after a kill of its MongoDB it does."""
    began = time.monotonic()
    while (answer := http.post(url, json=body)).status_code == 503:
        assert time.monotonic() - began < _BACK_S, f"the target has been away for {_BACK_S:.0f} s: {answer.text[:500]}"
        time.sleep(float(answer.headers["retry-after"]))
    assert answer.status_code == 200, answer.status_code
    page: Json = answer.json()
    return page


def assert_ledger_agrees(chaos: Chaos) -> None:
    """Recomputed by a program that shares no code with us."""
    status = chaos.root / "status.json"
    status.write_text(command(chaos, "status", "--json").stdout, encoding="utf-8")
    argv = [sys.executable, str(CHECKER), "--status", str(status), "--portal-control", chaos.control.url]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=_CHECK_S)
    assert ended.returncode == 0, f"{ended.stdout[-4000:]}{ended.stderr[-2000:]}"


def command(chaos: Chaos, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run `chatferry` for this project; it must end with that code (None: any)."""
    env = {**os.environ, "CHATFERRY_LOCAL": str(chaos.folder.root), "COLUMNS": "200"}
    argv = [str(Path(sys.executable).parent / "chatferry"), *arguments]
    ended = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=_CHECK_S)
    assert code is None or ended.returncode == code, f"{ended.returncode}: {ended.stdout[-3000:]}{ended.stderr[-2000:]}"
    return ended
