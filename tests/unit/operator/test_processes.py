"""What `status` and `migrate` are told of processes when the supervisor that wrote of them is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from chatferry.operator.folder import Folder
from chatferry.operator.processes import supervision


def written(tmp_path: Path, **state: Any) -> Folder:
    folder = Folder(tmp_path)
    folder.processes.write_text(json.dumps({"failed": None, "processes": [], **state}), encoding="utf-8")
    return folder


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


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
