"""What runs is kept running: services and parts of the stack killed for real, a supervisor killed itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from chatferry.operator.folder import Folder, read_json
from chatferry.operator.processes import leftovers
from chatferry.stack.process import command_line

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
PARTS = ("kafka", "mongodb", "redis")
SERVICES = ("chat", "importer", "extractor", "verifier")
_COMMAND_S = 150.0


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


@dataclass
class Local:
    """A folder with a stack of its own, and a portal that nobody answers for: services are up without it."""

    root: Path

    @property
    def folder(self) -> Folder:
        return Folder(self.root)

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """The command as a person runs it, in an environment that names no servers."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("CHATFERRY_")}
        webhooks = self.root.parent / "webhooks"
        webhooks.write_text("http://127.0.0.1:9/rest/1/nobodysecret\n", encoding="utf-8")
        webhooks.chmod(0o600)
        own |= {"CHATFERRY_LOCAL": str(self.root), "CHATFERRY_PORTAL_WEBHOOKS_FILE": str(webhooks), "COLUMNS": "200"}
        command = [str(Path(sys.executable).parent / "chatferry"), *arguments]
        return subprocess.run(command, env=own | more, capture_output=True, text=True, timeout=_COMMAND_S)

    def up(self, **more: str) -> None:
        done = self.run("up", **more)
        assert done.returncode == 0, done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        state: dict[str, Any] = json.loads(done.stdout)
        return state

    def written(self) -> dict[str, Any]:
        """What the supervisor says now."""
        return read_json(self.root / "run" / "processes.json")

    def process(self, name: str) -> dict[str, Any]:
        found = next((one for one in self.written().get("processes", []) if one["name"] == name), None)
        return found or {"name": name, "pid": None, "restarts": 0}

    def kill(self, name: str) -> int:
        """SIGKILL for one that the supervisor names; its pid."""
        pid = self.process(name)["pid"]
        process = psutil.Process(pid)
        assert any(str(self.root) in word or f"chatferry.{name}" in word for word in command_line(process)), name
        process.send_signal(signal.SIGKILL)
        return int(pid)

    def supervisor(self) -> psutil.Process:
        process = psutil.Process(self.written()["supervisor"])
        assert "chatferry.operator.supervisor" in command_line(process)
        return process

    def stack_pids(self) -> list[int]:
        state = read_json(self.root / "stack" / "state.json")
        return [state[part]["process"]["pid"] for part in PARTS if state.get(part, {}).get("process")]

    def assert_nothing_runs(self) -> None:
        assert leftovers(self.folder) == []
        assert self.stack_pids() == []
        assert [
            process.pid
            for process in psutil.process_iter(["cmdline"])
            if any(str(self.root) in word for word in process.info["cmdline"] or ())
        ] == []


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    made = Local(tmp_path / "local")
    try:
        yield made
    finally:
        done = made.run("down")
        assert done.returncode == 0, done.stdout + done.stderr
        made.assert_nothing_runs()


def test_killed_services_and_parts_are_started_again_and_counted(local: Local) -> None:
    local.up()
    state = local.status()
    assert [one["name"] for one in state["processes"]] == [*SERVICES, *PARTS]
    assert all(one["pid"] and one["restarts"] == 0 for one in state["processes"])
    for name in ("importer", *PARTS):
        old = local.kill(name)
        until(
            lambda name=name, old=old: (
                (local.process(name)["restarts"], local.process(name)["pid"] != old) == (1, True)
            ),  # type: ignore[misc]
            f"{name} is started again",
        )
    # Services may have ended while a part was away; all of them find it again.
    until(lambda: not any(local.status()["health"].values()), "every service is well again", 90)
    state = local.status()
    counted = {one["name"]: one["restarts"] for one in state["processes"]}
    assert counted["importer"] >= 1
    assert [counted[part] for part in PARTS] == [1, 1, 1]
    assert state["stack_restarts"] == dict.fromkeys(PARTS, 1)
    assert state["failed"] is None
    shown = local.run("status").stdout
    assert "restarts" in shown
    assert "kafka" in shown
    done = local.run("down")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "stopped")
    local.assert_nothing_runs()
    assert local.run("down").stdout.splitlines()[-1] == "nothing was running"


def test_a_service_with_a_wrong_setting_ends_the_start_with_its_last_line(local: Local) -> None:
    done = local.run("up", CHATFERRY_PAGE_SIZE="0")
    assert done.returncode == 2
    assert "extractor cannot be kept running" in done.stderr
    assert "CHATFERRY_PAGE_SIZE" in done.stderr
    assert "nobodysecret" not in done.stdout + done.stderr
    local.assert_nothing_runs()


def test_a_service_that_keeps_dying_ends_the_run_with_its_last_line(local: Local) -> None:
    local.up()
    killed: set[int] = set()
    while local.written().get("failed") is None:
        assert len(killed) < 20, "it is started again for ever"
        if (pid := local.process("verifier")["pid"]) is not None and pid not in killed:
            killed.add(local.kill("verifier"))
        time.sleep(0.05)
    state = local.status()
    assert "verifier cannot be kept running" in state["failed"]
    assert local.process("verifier")["restarts"] >= 3
    assert "verifier cannot be kept running" in local.run("status").stdout
    migrating = local.run("migrate", "users")
    assert migrating.returncode == 2
    assert "verifier cannot be kept running" in migrating.stderr


def test_a_supervisor_that_was_killed_is_told_of_and_cleaned_up_after(local: Local) -> None:
    local.up()
    local.supervisor().send_signal(signal.SIGKILL)
    until(lambda: not psutil.pid_exists(local.written()["supervisor"]), "the supervisor is gone")
    state = local.status()
    assert "the supervisor has died" in state["failed"]
    assert all(one["pid"] for one in state["processes"]), "they go on without it, and that is said"
    local.kill("importer")
    until(lambda: local.status()["processes"][1]["pid"] is None, "a dead process is not shown as running")
    assert "the supervisor has died" in local.run("migrate", "users").stderr
    orphans = {process.pid for process in leftovers(local.folder)}
    assert len(orphans) == len(SERVICES) - 1
    local.up()
    state = local.status()
    assert state["failed"] is None
    assert {one["pid"] for one in state["processes"]} & orphans == set()
    assert len(leftovers(local.folder)) == len(SERVICES), "nothing runs twice"
    local.supervisor().send_signal(signal.SIGKILL)
    assert local.run("down").stdout.splitlines()[-1] == "stopped"
    local.assert_nothing_runs()
