"""tools/demo-docker where there is nothing to run it on: one sentence, exit code 2, nothing started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "tools" / "demo-docker"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH that holds only what the script itself needs; a test adds its own `docker`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "env", "dirname", "tail", "sed"):
        found = next(at for at in (Path("/usr/bin"), Path("/bin")) if (at / name).exists())
        (folder / name).symlink_to(found / name)
    return folder


def docker(programs: Path, script: str) -> None:
    file = programs / "docker"
    file.write_text(f'#!/usr/bin/env bash\necho "$*" >> {programs.parent / "calls"}\n{script}\n')
    file.chmod(0o755)


def refusal(programs: Path, *arguments: str) -> str:
    environment = {"PATH": str(programs), "CHATFERRY_LOCAL": str(programs.parent / "local")}
    ended = subprocess.run([str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    return line


def test_without_docker_it_says_what_to_install_and_what_works_without(programs: Path) -> None:
    assert "there is no docker command; install" in refusal(programs)
    assert "`make demo`" in refusal(programs)


def test_without_the_compose_plugin_it_says_so(programs: Path) -> None:
    docker(programs, "exit 1")
    assert "no compose plugin" in refusal(programs)


def test_an_engine_that_does_not_answer_is_named_with_its_own_words(programs: Path) -> None:
    docker(programs, '[ "$1" = info ] && { echo "permission denied"; exit 1; }; exit 0')
    assert "no Docker engine answers (permission denied)" in refusal(programs)


def test_an_image_that_cannot_be_had_is_named_and_nothing_is_started(programs: Path) -> None:
    docker(programs, 'case "$1" in pull | image) echo "no route to host" >&2; exit 1 ;; esac')
    assert "the image python:3.11-slim-bookworm is neither here nor to be had (no route to host)" in refusal(programs)
    assert " up " not in (programs.parent / "calls").read_text()


def test_a_demo_that_was_left_there_is_not_run_over(programs: Path) -> None:
    docker(programs, '[ "$1" = ps ] && echo 4711; exit 0')
    assert "remove it with `tools/demo-docker --down`" in refusal(programs)


def test_an_unknown_option_is_refused(programs: Path) -> None:
    assert "there is no option --wrong" in refusal(programs, "--wrong")
