"""`chatferry demo participants` as a person runs it: on servers of its own, to its verdict, and ended at any time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
from tests.integration.whole.running import OFFICE_PROXY

from chatferry.operator.folder import Folder, read_json
from chatferry.operator.processes import leftovers

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
_COMMAND = str(Path(sys.executable).parent / "chatferry")
_WITHIN_S = 150.0


@dataclass
class Local:
    """A folder with a stack of its own."""

    root: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("CHATFERRY_", "PARTICIPANTS_"))
        }
        return own | {"CHATFERRY_LOCAL": str(self.root), "COLUMNS": "200", **OFFICE_PROXY}

    def begin(self, *options: str) -> subprocess.Popen[str]:
        """What it says goes to a file: nobody reads a pipe while it runs."""
        with (self.root.parent / "said").open("w") as said:
            command = [_COMMAND, "demo", "participants", *options]
            process = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=said, text=True)
        self.started.append(process)
        return process

    def said(self) -> str:
        return (self.root.parent / "said").read_text(encoding="utf-8")

    def until_said(self, process: subprocess.Popen[str], word: str) -> str:
        self.until(lambda: word in self.said() or process.poll() is not None, word)
        assert process.poll() is None, self.said()
        return self.said()

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + _WITHIN_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {_WITHIN_S:.0f} s: {what}\n{self.said()}"
            time.sleep(0.1)

    def assert_nothing_runs(self) -> None:
        assert leftovers(Folder(self.root)) == []
        named = [process for process in psutil.process_iter(["cmdline"]) if self._names(process)]
        assert [process.info["cmdline"] for process in named] == []

    def _names(self, process: psutil.Process) -> bool:
        return any(str(self.root) in word for word in process.info["cmdline"] or ())


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    made = Local(tmp_path / "local")
    try:
        yield made
    finally:
        for process in made.started:
            process.kill()
            process.communicate()
        subprocess.run([_COMMAND, "down"], env=made.env, capture_output=True, timeout=_WITHIN_S)
        made.assert_nothing_runs()


@pytest.mark.parametrize("events", ["on", "off"])
def test_it_ends_with_a_verdict_and_leaves_nothing_running(local: Local, events: str) -> None:
    process = local.begin("--chats", "30", "--seconds", "18", "--events", events, "--seed", "3", "--json")
    said, _ = process.communicate(timeout=_WITHIN_S)
    assert process.returncode == 0, local.said() + said
    verdict = json.loads(said)
    assert verdict["exact_after_quiet"] is True
    assert verdict["max_calls_in_any_second"] <= 30
    assert verdict["duplicate_reads"] == verdict["failed_requests"] == 0
    assert verdict["served_requests"] >= 18 * 10
    assert 0 < verdict["p99_ms"] < 10_000
    assert verdict["calls_total"] >= 30
    assert verdict["changes"] > 0
    assert verdict["events_missed_share"] == (1 if events == "off" else 0)
    assert 0.5 < verdict["fresh_share"] <= 1
    local.assert_nothing_runs()


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("kafka: starting", signal.SIGTERM),
        ("changing:", signal.SIGINT),
    ],
)
def test_interrupted_it_ends_all_that_it_has_started(local: Local, moment: str, number: signal.Signals) -> None:
    process = local.begin("--chats", "10", "--seconds", "60", "--replicas", "1", "--json")
    local.until_said(process, moment)
    process.send_signal(number)
    said, _ = process.communicate(timeout=_WITHIN_S)
    assert process.returncode not in (0, None)
    assert said == "", "there is no verdict"
    assert "Traceback" not in local.said()
    local.assert_nothing_runs()


def test_a_replica_that_is_killed_costs_some_calls_and_no_count(local: Local) -> None:
    """It is the one that MAX sends its events to; it comes back where it was."""
    process = local.begin("--chats", "30", "--seconds", "30", "--replicas", "2", "--json")
    local.until_said(process, "changing:")
    running = read_json(local.root / "run" / "processes.json")["processes"]
    psutil.Process(next(one["pid"] for one in running if one["name"] == "participants-1")).kill()
    said, _ = process.communicate(timeout=_WITHIN_S)
    assert process.returncode == 0, local.said() + said
    verdict = json.loads(said)
    assert verdict["exact_after_quiet"] is True
    assert verdict["duplicate_reads"] == 0
    assert 0 < verdict["failed_requests"] < verdict["served_requests"] / 4
    local.assert_nothing_runs()


def test_counts_that_do_not_come_right_are_named_and_are_no_success(local: Local) -> None:
    process = local.begin("--chats", "10", "--seconds", "10", "--replicas", "1", "--json")
    local.until_said(process, "changing:")
    url = re.search(r"watch it in a browser: (\S+)", local.said())
    assert url is not None
    platform = next(one for one in leftovers(Folder(local.root)) if "chatferry.simulators.max" in one.cmdline())
    control = f"http://127.0.0.1:{platform.cmdline()[platform.cmdline().index('--control-port') + 1]}/control"
    chats = httpx.get(f"{control}/truth/chats").json()
    local.until(lambda: httpx.get(f"{url[1]}state.json").json()["phase"] == "quiet", "quiet")
    # Nobody tells of it, and nobody asks before tomorrow.
    for chat in chats[:2]:
        change = {"chat_id": chat["chat_id"], "by": 3}
        httpx.post(f"{control}/changes/move_silently", json=change).raise_for_status()
    said, _ = process.communicate(timeout=_WITHIN_S)
    assert process.returncode == 1, local.said() + said
    assert json.loads(said)["exact_after_quiet"] is False
    assert len(re.findall(r"replica 1 serves \d+ \(fresh\) for chat -\d+, which has \d+", local.said())) == 2
    local.assert_nothing_runs()


def test_what_is_kept_answers_until_it_is_taken_down(local: Local) -> None:
    process = local.begin("--chats", "10", "--seconds", "8", "--replicas", "2", "--json", "--keep")
    process.communicate(timeout=_WITHIN_S)
    assert process.returncode == 0, local.said()
    urls = re.findall(r"replica +(http://\S+)", local.said())
    key_file = re.search(r"key +(\S+)", local.said())
    assert key_file is not None
    assert len(urls) == 2
    key = Path(key_file[1]).read_text(encoding="utf-8").strip()
    for url in urls:
        assert httpx.get(f"{url}/chats/all", headers={"x-api-key": key}).json()["total"] == 10
        assert httpx.get(f"{url}/chats/all").status_code == 401
    assert read_json(local.root / "run" / "processes.json")["failed"] is None
    done = subprocess.run([_COMMAND, "down"], env=local.env, capture_output=True, text=True, timeout=_WITHIN_S)
    assert done.returncode == 0, done.stderr
    local.assert_nothing_runs()


def test_a_replica_that_cannot_be_kept_running_ends_it_with_its_last_words(local: Local) -> None:
    done = subprocess.run(
        [_COMMAND, "demo", "participants", "--chats", "10", "--replicas", "1"],
        env=local.env | {"PARTICIPANTS_BATCH_SIZE": "many"},
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
    )
    assert done.returncode == 2
    assert "PARTICIPANTS_BATCH_SIZE" in done.stderr
    assert done.stderr.count("\n") == 1, "one sentence"
    local.assert_nothing_runs()
