"""What a supervisor left or keeps running in a folder: told truthfully, and ended, also when it was killed itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from chatferry.common.errors import ConfigurationError, FatalError
from chatferry.operator.folder import Folder, read_json

MARKER = "CHATFERRY_SUPERVISED"
"""In the environment of every process that a supervisor starts: the folder it belongs to."""
SUPERVISOR = "chatferry.operator.supervisor"
"""The module that is run, with the folder's plan as its only argument."""
_ROUNDED_S = 2.0
_ENDS_S = 120.0
_GRACE_S = 20.0
_LOOK_S = 0.1
_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM, and a terminal that is closed, end a command as Ctrl-C does: with all that it has started; once, however
    often they come. What is ignored already stays so (nohup)."""

    def interrupt(*_: object) -> None:
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    heard = [number for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def supervision(folder: Folder) -> dict[str, Any]:
    """What the supervisor wrote, corrected by what is: without one nothing is started again. Empty: there was none."""
    state = read_json(folder.processes)
    if not state or supervisor_of(folder, state) is not None:
        return state
    try:
        written = folder.processes.stat().st_mtime
    except FileNotFoundError:
        # Taken down since it was read.
        return {}
    processes = [
        {**one, "pid": one["pid"] if _lives(one["pid"], written) else None} for one in state.get("processes", [])
    ]
    gone = "the supervisor has died, nothing is started again; run `chatferry down`, then start anew"
    return {**state, "supervisor": None, "processes": processes, "failed": state.get("failed") or gone}


def stop(folder: Folder) -> bool:
    """End the supervisor of this folder and all that it started. False when nothing ran. Raises FatalError."""
    supervisor = supervisor_of(folder, read_json(folder.processes))
    if supervisor is not None:
        with suppress(psutil.NoSuchProcess):
            supervisor.send_signal(signal.SIGTERM)
        _wait_for_end(supervisor)
    left = leftovers(folder)
    _end(left)
    folder.processes.unlink(missing_ok=True)
    return supervisor is not None or bool(left)


def check_unsupervised(folder: Folder) -> None:
    """Before the servers are stopped alone. Raises ConfigurationError where a supervisor would start them again."""
    if supervisor_of(folder, read_json(folder.processes)) is not None:
        raise ConfigurationError(
            "the services that `chatferry up` or a demo runs here use these servers, and would start them again;"
            " `chatferry down` stops them and the servers"
        )


def leftovers(folder: Folder) -> list[psutil.Process]:
    """Processes that a supervisor of this folder started, whoever is their parent now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            mark = process.environ().get(MARKER)
            if process.pid != os.getpid() and mark is not None and _same(mark, folder.root):
                found.append(process)
    return found


def supervisor_of(folder: Folder, state: dict[str, Any]) -> psutil.Process | None:
    """The one of `state` (processes.json), if it lives.

    Its pid may be another process's by now, even another folder's supervisor: it must name this folder's plan.
    """
    pid = state.get("supervisor")
    if not isinstance(pid, int):
        return None
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # a zombie is no such process
        process = psutil.Process(pid)
        *_, module, plan = ["", "", *process.cmdline()]
        return process if module == SUPERVISOR and _same(plan, folder.plan) else None
    return None


def _same(named: str, file: Path) -> bool:
    """Also where the folder is reached by another way."""
    try:
        return named == str(file) or Path(named).samefile(file)
    except OSError:
        return False


def _lives(pid: int | None, written: float) -> bool:
    """`written`: when the pid was written down (seconds since the epoch); who was born later was not meant."""
    with suppress(psutil.NoSuchProcess):
        if pid is None:
            return False
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= written + _ROUNDED_S
    return False


def _wait_for_end(process: psutil.Process) -> None:
    """Dead children of ours are taken away meanwhile: the supervisor waits until the stack's servers are gone."""
    deadline = time.monotonic() + _ENDS_S
    while process.is_running():
        if time.monotonic() > deadline:
            raise FatalError("stop.late", f"the supervisor (pid {process.pid}) has not ended after {_ENDS_S:.0f} s")
        psutil.wait_procs([process, *psutil.Process().children()], timeout=_LOOK_S)


def _end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=_GRACE_S)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=_GRACE_S)
