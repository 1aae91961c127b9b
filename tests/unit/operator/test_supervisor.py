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

from chatferry.operator.folder import Folder, read_json
from chatferry.operator.processes import leftovers
from chatferry.operator.supervisor import Plan, Service, Supervisor


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
