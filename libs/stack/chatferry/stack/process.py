"""Child processes that outlive the one that started them, recognised again by pid and time of birth."""

import os
import signal
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAME_INSTANT_S = 1.5
"""psutil's boot time is rounded to a second, so two readings of one birth may differ by that much."""


_LAST_THREAD_S = 5.0
_BECOMES_ITS_PROGRAM_S = 2.0


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process for good: a pid may be given to another process later, a pid with its time of birth may not.

    The time is counted from the boot, in seconds, since the wall clock may be set while the process lives.
    """

    pid: int
    born_s_after_boot: float


def spawn(argv: Sequence[str], log: Path, env: Mapping[str, str]) -> ProcessId:
    """Start a program in a session of its own, with both outputs appended to `log`.

    No Popen: its object would have to outlive the child. SIGXFSZ stays ignored as Python has it, so that
    a file-size limit is an error line in the log and not a silent death. Raises OSError.
    """
    write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        argv[0],
        list(argv),
        dict(env),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), write, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
    )
    return ProcessId(pid, _born_s_after_boot(psutil.Process(pid)))


def find(identity: ProcessId | None, marker: str) -> psutil.Process | None:
    """The living process with this identity, else None.

    `marker` is a path of ours that its command line must name: a second proof, for a state file copied from elsewhere.
    """
    if identity is None:
        return None
    try:
        process = psutil.Process(identity.pid)
        if process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
            _reap(process)
            return None
        born = _born_s_after_boot(process)
        ours = any(marker in argument for argument in command_line(process))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if ours and abs(born - identity.born_s_after_boot) <= _SAME_INSTANT_S else None


def orphans(program: str, marker: str) -> list[psutil.Process]:
    """Processes that `spawn` started with this program on a path of ours, and that nobody wrote down.

    A stranger that merely names the path has another program, or is in somebody's session.
    """
    found = []
    for process in psutil.process_iter():
        try:
            argv = process.cmdline()
            if (
                argv[:1] == [program]
                and any(one.startswith(marker) or f"={marker}" in one for one in argv)
                and os.getsid(process.pid) == process.pid
            ):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue
    return found


def command_line(process: psutil.Process) -> list[str]:
    """Its words; they are empty for an instant while a fresh child becomes its program."""
    end = time.monotonic() + _BECOMES_ITS_PROGRAM_S
    while not (words := process.cmdline()) and time.monotonic() < end:
        time.sleep(0.005)
    return words


def listens(process: psutil.Process, port: int) -> bool:
    """Whether this very process, and not a stranger, accepts connections on the port."""
    try:
        family = [process, *process.children(recursive=True)]
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for member in family
            for connection in member.net_connections("tcp")
        )
    except psutil.NoSuchProcess:
        return False


def stop(processes: Iterable[psutil.Process], timeout_s: float) -> list[int]:
    """End the processes: ask, wait, then kill each with its session. Returns the pids that had to be killed."""
    ending = list(processes)
    for process in ending:
        _signal(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(ending, timeout=timeout_s)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=5)
    return [process.pid for process in stubborn]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now; another may take it before it is used."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether a server could listen on the port of 127.0.0.1 now (connections that linger do not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
        return True


def _born_s_after_boot(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()


def _reap(process: psutil.Process) -> None:
    """Take a dead child away, once the last of its threads is gone: until then its ports and files are in use."""
    end = time.monotonic() + _LAST_THREAD_S
    while process.num_threads() > 1 and time.monotonic() < end:
        time.sleep(0.01)
    try:
        process.wait(timeout=0)
    except psutil.TimeoutExpired:
        return  # the child of somebody else: its parent takes it away


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        if number == signal.SIGKILL and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return
