"""`make clean` on a checkout where something runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[3]


def test_what_runs_is_stopped_before_its_folder_goes_away_and_a_folder_that_keeps_data_stays(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    env = {name: value for name, value in os.environ.items() if not name.startswith("CHATFERRY_")}
    chatferry = [str(Path(sys.executable).parent / "chatferry"), "stack", "up"]
    try:
        subprocess.run(chatferry, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=120)
        running = [process for process in psutil.process_iter() if _names(process, tmp_path)]
        assert len(running) == 3, "a broker, a database and a Redis"
        clean = partial(
            subprocess.run, ["make", "clean"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
        )
        refused = clean()
        assert refused.returncode == 2
        assert "make clean: .local keeps the data of whatever uses the servers" in refused.stderr
        assert not any(_names(process, tmp_path) for process in running)
        assert (tmp_path / ".local" / "stack").is_dir()

        (tmp_path / ".local" / "kept").unlink()
        done = clean()
        assert done.returncode == 0, done.stdout + done.stderr
        assert not (tmp_path / ".local").exists()
        assert not (tmp_path / ".venv").is_symlink()
        assert subprocess.run(["make", "clean"], cwd=tmp_path, env=env, capture_output=True).returncode == 0
    finally:
        subprocess.run([*chatferry[:2], "down"], cwd=tmp_path, env=env, capture_output=True, timeout=120)


def _names(process: psutil.Process, folder: Path) -> bool:
    """Whether it lives and its command line names the folder."""
    try:
        return any(str(folder) in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False
