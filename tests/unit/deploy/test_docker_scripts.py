"""The scripts that need a Docker engine, where there is none: one sentence, their exit code, nothing started."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Script:
    """`code`: what it ends with where a person must act; `otherwise`: what works without Docker."""

    name: str
    code: int
    otherwise: str


DEMO = Script("demo-docker", 2, "`make demo`")
CHECK = Script("containers-check", 3, "`make test`")


@pytest.fixture(params=[DEMO, CHECK], ids=lambda script: script.name)
def script(request: pytest.FixtureRequest) -> Script:
    found: Script = request.param
    return found


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH that holds only what the script itself needs; a test adds its own `docker`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "env", "dirname", "tail", "sed"):
        found = next(at for at in (Path("/usr/bin"), Path("/bin")) if (at / name).exists())
        (folder / name).symlink_to(found / name)
    return folder


def docker(programs: Path, answers: str) -> None:
    file = programs / "docker"
    file.write_text(f'#!/usr/bin/env bash\necho "$*" >> {programs.parent / "calls"}\n{answers}\n')
    file.chmod(0o755)


def refusal(script: Script, programs: Path, *arguments: str) -> str:
    environment = {"PATH": str(programs), "CHATFERRY_LOCAL": str(programs.parent / "local")}
    command = [str(ROOT / "tools" / script.name), *arguments]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert ended.returncode == script.code
    (line,) = ended.stderr.splitlines()
    return line


def test_without_docker_it_says_what_to_install_and_what_works_without(script: Script, programs: Path) -> None:
    assert "there is no docker command; install" in refusal(script, programs)
    assert script.otherwise in refusal(script, programs)


def test_without_the_compose_plugin_it_says_so(script: Script, programs: Path) -> None:
    docker(programs, "exit 1")
    assert "no compose plugin" in refusal(script, programs)


def test_an_engine_that_does_not_answer_is_named_with_its_own_words(script: Script, programs: Path) -> None:
    docker(programs, '[ "$1" = info ] && { echo "permission denied"; exit 1; }; exit 0')
    assert "no Docker engine answers (permission denied)" in refusal(script, programs)


def test_an_image_that_cannot_be_had_is_named_and_nothing_is_started(script: Script, programs: Path) -> None:
    docker(programs, 'case "$1" in pull | image) echo "no route to host" >&2; exit 1 ;; esac')
    assert "the image python:3.11-slim-bookworm is neither here nor to be had (no route to host)" in refusal(
        script, programs
    )
    calls = (programs.parent / "calls").read_text()
    assert " up " not in calls
    assert " build " not in calls


def test_a_demo_that_was_left_there_is_not_run_over(programs: Path) -> None:
    docker(programs, '[ "$1" = ps ] && echo 4711; exit 0')
    assert "remove it with `tools/demo-docker --down`" in refusal(DEMO, programs)


def test_an_unknown_option_is_refused(programs: Path) -> None:
    assert "there is no option --wrong" in refusal(DEMO, programs, "--wrong")


def test_the_check_has_no_step_of_another_name(programs: Path) -> None:
    assert "there is no step --wrong" in refusal(CHECK, programs, "--wrong")
