"""What `status` and `migrate` are told of processes when the supervisor that wrote of them is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chatferry.operator.folder import Folder
from chatferry.operator.processes import SUPERVISOR, stop, supervision

_WAITS = "import sys; print(flush=True); sys.stdin.read()"


def written(tmp_path: Path, **state: Any) -> Folder:
    folder = Folder(tmp_path)
    folder.processes.write_text(json.dumps({"failed": None, "processes": [], **state}), encoding="utf-8")
    return folder


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


@contextmanager
def a_supervisor_of(folder: Folder) -> Iterator[subprocess.Popen[bytes]]:
    """A process that says of itself what a supervisor of that folder says, and ends when it is told to."""
    folder.plan.write_text("{}", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", _WAITS, SUPERVISOR, str(folder.plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        # A process that has just been started has no command line for a moment.
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_folder_that_nobody_supervises_tells_nothing(tmp_path: Path) -> None:
    assert supervision(Folder(tmp_path)) == {}


def test_without_its_supervisor_only_living_processes_have_a_pid(tmp_path: Path) -> None:
    one = {"name": "chat", "pid": os.getpid(), "restarts": 0}
    other = {"name": "importer", "pid": dead_pid(), "restarts": 2}
    told = supervision(written(tmp_path, supervisor=dead_pid(), processes=[one, other]))
    assert told["processes"] == [one, {**other, "pid": None}]
    assert told["supervisor"] is None
    assert "the supervisor has died" in told["failed"]


def test_a_pid_that_another_process_has_now_is_no_supervisor(tmp_path: Path) -> None:
    assert "the supervisor has died" in supervision(written(tmp_path, supervisor=os.getpid()))["failed"]


def test_the_reason_that_a_supervisor_gave_up_with_is_kept(tmp_path: Path) -> None:
    told = supervision(written(tmp_path, supervisor=dead_pid(), failed="chat cannot be kept running: port in use"))
    assert told["failed"] == "chat cannot be kept running: port in use"


def test_down_ends_the_supervisor_that_runs_the_plan_of_this_folder(tmp_path: Path) -> None:
    with a_supervisor_of(Folder(tmp_path)) as process:
        folder = written(tmp_path, supervisor=process.pid)
        assert supervision(folder)["supervisor"] == process.pid
        assert stop(folder)
        assert process.poll() is not None


def test_down_leaves_the_supervisor_of_another_folder_alone_that_has_the_pid_of_ours_now(tmp_path: Path) -> None:
    with a_supervisor_of(Folder(tmp_path / "other")) as process:
        folder = written(tmp_path / "ours", supervisor=process.pid)
        folder.plan.write_text("{}", encoding="utf-8")
        assert "the supervisor has died" in supervision(folder)["failed"]
        assert not stop(folder)
        assert process.poll() is None


def test_a_process_that_is_younger_than_what_was_written_of_its_pid_is_another_one(tmp_path: Path) -> None:
    one = {"name": "chat", "pid": os.getpid(), "restarts": 0}
    folder = written(tmp_path, supervisor=dead_pid(), processes=[one])
    os.utime(folder.processes, (1, 1))
    assert supervision(folder)["processes"] == [{**one, "pid": None}]
