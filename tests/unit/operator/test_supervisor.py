"""How a supervisor ends: what it leaves behind for those who ask afterwards."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chatferry.common.errors import FatalError
from chatferry.operator.folder import Folder, read_json
from chatferry.operator.processes import leftovers
from chatferry.operator.supervisor import Plan, Service, Supervisor, environment_of


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """A supervisor takes its process' signals; here they are the tests'."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def supervisor(tmp_path: Path, code: str) -> Supervisor:
    service = Service("sleeper", (sys.executable, "-S", "-c", code), {}, str(tmp_path / "sleeper.log"))
    return Supervisor(Plan(str(tmp_path), (service,), None), Folder(tmp_path))


def between_looks(monkeypatch: pytest.MonkeyPatch, pause: Callable[[float], None]) -> None:
    """What happens instead of the supervisor's pause."""
    monkeypatch.setattr("chatferry.operator.supervisor.time", SimpleNamespace(sleep=pause, monotonic=time.monotonic))


def test_one_that_was_asked_to_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = supervisor(tmp_path, "import time; time.sleep(60)")
    told: list[dict[str, Any]] = []
    seen: list[int] = []
    (tmp_path / "link").symlink_to(tmp_path)

    def pause(_: float) -> None:
        told.append(read_json(watching.folder.processes))
        # Whichever way the folder is reached by.
        seen.append(len(leftovers(Folder(tmp_path / "link"))))
        signal.raise_signal(signal.SIGTERM)

    between_looks(monkeypatch, pause)
    watching.run()
    assert seen == [1]
    assert [(one["name"], one["restarts"]) for one in told[0]["processes"]] == [("sleeper", 0)]
    assert not watching.folder.processes.exists()
    assert leftovers(watching.folder) == []


def test_one_that_fails_itself_ends_what_it_started_and_leaves_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = supervisor(tmp_path, "import time; time.sleep(60)")

    def pause(_: float) -> None:
        raise OSError("no space left")

    between_looks(monkeypatch, pause)
    with pytest.raises(OSError, match="no space"):
        watching.run()
    assert "the supervisor itself has failed" in read_json(watching.folder.processes)["failed"]
    assert leftovers(watching.folder) == []


def test_a_state_that_cannot_be_written_ends_nothing_is_said_once_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The services go on, and are started again when they die."""
    watching = supervisor(tmp_path, "import time; time.sleep(0.05)")
    written, full = Path.write_text, [True]
    told: list[int] = []

    def write(file: Path, *arguments: Any, **more: Any) -> int:
        if full[0] and told and file.name.startswith("processes"):
            raise OSError(28, "No space left on device")
        return written(file, *arguments, **more)

    def pause(_: float) -> None:
        told.append(watching.children[0].restarts)
        time.sleep(0.02)
        full[0] = watching.children[0].restarts < 2
        if not full[0] and read_json(watching.folder.processes)["processes"][0]["restarts"] >= 2:
            signal.raise_signal(signal.SIGTERM)
        assert len(told) < 500, "it is never written"

    monkeypatch.setattr(Path, "write_text", write)
    between_looks(monkeypatch, pause)
    watching.run()
    said = capsys.readouterr().err
    assert said.count("processes.json cannot be written (No space left on device)") == 1
    assert said.count("\n") == 1
    assert leftovers(watching.folder) == []


def test_one_that_cannot_say_where_it_is_at_all_ends_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = supervisor(tmp_path, "import time; time.sleep(60)")

    def write(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write)
    with pytest.raises(FatalError, match="cannot be written"):
        watching.run()
    assert leftovers(watching.folder) == []


def test_a_service_whose_log_cannot_be_opened_is_tried_again_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (sys.executable, "-S", "-c", "import time; time.sleep(60)")
    one = Service("one", code, {}, str(tmp_path / "one.log"))
    two = Service("two", code, {}, str(tmp_path / "later" / "two.log"))
    watching = Supervisor(Plan(str(tmp_path), (two, one), None), Folder(tmp_path))
    seen: list[bool] = []

    def pause(_: float) -> None:
        seen.append(watching.children[1].process is not None)
        if watching.children[0].deaths:
            (tmp_path / "later").mkdir(exist_ok=True)
        if watching.children[0].process is not None:
            signal.raise_signal(signal.SIGTERM)
        time.sleep(0.02)

    between_looks(monkeypatch, pause)
    watching.run()
    assert all(seen)
    assert watching.children[0].restarts == 0


def test_a_file_of_the_plan_takes_the_place_of_a_variable_that_was_inherited() -> None:
    """Else a demo would read the portal, and write to the target, that a shell names for something else."""
    service = Service("extractor", (), {"CHATFERRY_PORTAL_WEBHOOKS_FILE": "ours", "CHATFERRY_KAFKA": "k"}, "log")
    inherited = {"CHATFERRY_PORTAL_WEBHOOKS": "https://theirs", "CHATFERRY_KAFKA": "theirs", "PATH": "/bin"}
    assert environment_of(service, inherited) == {**service.env, "PATH": "/bin"}
