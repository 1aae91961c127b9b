"""The stack's own files, without a server: state, lock, logs, jars, programs."""

import hashlib
import re
import threading
from pathlib import Path

import pytest

from chatferry.stack import logs
from chatferry.stack.deadline import Deadline
from chatferry.stack.errors import ProgramError, StackError
from chatferry.stack.kafka_jars import LockedJar, jar_paths, maven_repositories
from chatferry.stack.lock import held
from chatferry.stack.process import ProcessId
from chatferry.stack.programs import Wanted, find_program, in_package, probe, runnable
from chatferry.stack.state import PartState, StateFile

TOOL = Wanted("tool", "--version", re.compile(r"v(\d+)\.(\d+)"), (6, 2))


def script(path: Path, body: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(mode)
    return path


def absent() -> Path:
    raise ProgramError("the package is not installed")


def quiet(_: str) -> None: ...


def test_a_state_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    state = PartState({"client": 40001, "controller": 40002}, ProcessId(7, 12.5))
    StateFile(tmp_path / "state.json").write("kafka", state)
    StateFile(tmp_path / "state.json").write("redis", PartState({"client": 1}))
    assert StateFile(tmp_path / "state.json").read("kafka") == state
    assert StateFile(tmp_path / "state.json").read("mongodb") == PartState()


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"kafka": {"ports": 1}}', '{"kafka": {"ports": {}, "process": {"pid": "x"}}}']
)
def test_a_damaged_state_file_says_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(StackError, match="damaged"):
        StateFile(tmp_path / "state.json").read("kafka")


def test_a_lock_that_stays_held_is_an_error_with_the_folder_in_it(tmp_path: Path) -> None:
    said: list[str] = []
    with (
        held(tmp_path / "lock", Deadline(1), quiet),
        pytest.raises(StackError, match=re.escape(str(tmp_path))),
        held(tmp_path / "lock", Deadline(0.2), said.append),
    ):
        pass
    assert len(said) == 1


def test_the_next_one_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    waiting, done = threading.Event(), threading.Event()

    def second() -> None:
        with held(tmp_path / "lock", Deadline(10), lambda _: waiting.set()):
            done.set()

    with held(tmp_path / "lock", Deadline(1), quiet):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(5)
        assert not done.is_set()
    thread.join(10)
    assert done.is_set()


def test_the_last_error_of_a_log_is_found_and_readable(tmp_path: Path) -> None:
    log = tmp_path / "mongodb.log"
    log.write_text(
        '{"s":"E","msg":"WiredTiger error","attr":{"error":28}}\n{"s":"I","msg":"bye"}\n\n', encoding="utf-8"
    )
    assert logs.last_errors(log) == 'WiredTiger error {"error": 28}'
    assert logs.last_errors(tmp_path / "none.log") == ""


def test_a_cause_that_a_person_can_act_on_wins_over_what_follows_from_it(tmp_path: Path) -> None:
    (tmp_path / "kafka.log").write_text(
        "2026 ERROR Error while appending\njava.io.IOException: No space left on device\n\tat x.Y\n2026 ERROR Halting\n"
    )
    assert logs.last_errors(tmp_path / "kafka.log") == "java.io.IOException: No space left on device"


def test_the_last_lines_stand_in_for_errors_where_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "kafka.log").write_text("one\ntwo\n  at org.apache.Kafka\n")
    assert logs.last_errors(tmp_path / "kafka.log") == "one | two"


def test_a_rotated_log_keeps_one_before_it(tmp_path: Path) -> None:
    log = tmp_path / "redis.log"
    for content in ("first", "second"):
        log.write_text(content)
        logs.rotate(log)
    assert not log.exists()
    assert (tmp_path / "redis.log.1").read_text() == "second"


def test_a_new_enough_program_on_path_wins(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "echo tool v7.0")
    assert find_program(TOOL, {"PATH": str(tmp_path)}, absent) == tool


def test_an_old_program_on_path_gives_way_to_the_bundled_one(tmp_path: Path) -> None:
    script(tmp_path / "tool", "echo tool v6.1")
    bundled = script(tmp_path / "bundle" / "tool", "echo tool v6.2")
    assert find_program(TOOL, {"PATH": str(tmp_path)}, lambda: bundled) == bundled


def test_a_program_that_nobody_has_is_explained_for_both_places(tmp_path: Path) -> None:
    script(tmp_path / "tool", "echo tool v6.1")
    with pytest.raises(ProgramError, match=r"older than 6\.2.*not installed"):
        find_program(TOOL, {"PATH": str(tmp_path)}, absent)
    with pytest.raises(ProgramError, match="no tool on PATH"):
        find_program(TOOL, {"PATH": str(tmp_path / "none")}, absent)


def test_a_missing_shared_library_is_named(tmp_path: Path) -> None:
    loader = "echo 'tool: error while loading shared libraries: libcurl.so.4: cannot open' >&2; exit 127"
    with pytest.raises(ProgramError, match=r"libcurl\.so\.4"):
        probe(TOOL, script(tmp_path / "tool", loader), {})


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(ProgramError, match="some-distribution"):
        in_package("no_such_package_here.sub", "some-distribution", "bin/x")


def test_a_program_without_its_run_bit_gets_it(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "echo v1.0", mode=0o644)
    assert runnable(tool, tmp_path / "bin") == tool
    assert tool.stat().st_mode & 0o111


def test_a_program_whose_run_bit_cannot_be_set_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = script(tmp_path / "tool", "echo v1.0", mode=0o644)
    real = Path.chmod

    def chmod(path: Path, mode: int, *, follow_symlinks: bool = True) -> None:
        if path == tool:
            raise PermissionError(1, "Operation not permitted", str(path))
        real(path, mode, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "chmod", chmod)
    assert runnable(tool, tmp_path / "bin") == tmp_path / "bin" / "tool"
    assert runnable(tool, tmp_path / "bin").stat().st_mode & 0o111


def jar(content: bytes) -> LockedJar:
    return LockedJar("org.example", "thing", "1.0", hashlib.sha256(content).hexdigest())


def test_a_jar_of_the_users_maven_repository_is_taken_when_it_is_the_locked_one(tmp_path: Path) -> None:
    wanted = jar(b"good")
    (tmp_path / "m2" / wanted.path).parent.mkdir(parents=True)
    (tmp_path / "m2" / wanted.path).write_bytes(b"good")
    said: list[str] = []
    assert jar_paths([wanted], tmp_path / "cache", tmp_path / "m2", said.append) == [tmp_path / "cache" / wanted.path]
    assert (tmp_path / "cache" / wanted.path).read_bytes() == b"good"
    assert said == []


def test_a_cached_jar_with_other_content_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[LockedJar] = []
    monkeypatch.setattr("chatferry.stack.kafka_jars._fetch_all", lambda jars, cache: fetched.extend(jars))
    wanted = jar(b"good")
    for repository in ("cache", "m2"):
        (tmp_path / repository / wanted.path).parent.mkdir(parents=True)
        (tmp_path / repository / wanted.path).write_bytes(b"evil")
    jar_paths([wanted], tmp_path / "cache", tmp_path / "m2", quiet)
    assert fetched == [wanted]


def test_without_a_writable_home_the_jars_are_kept_under_the_root(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    own, users = maven_repositories({"XDG_CACHE_HOME": str(tmp_path / "file"), "M2_REPO": "/m2"}, tmp_path / "root")
    assert (own, users) == (tmp_path / "root", Path("/m2"))
