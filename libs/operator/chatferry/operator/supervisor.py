"""Keeps the services and the local stack running: `python -m chatferry.operator.supervisor PLAN.json`.

A process that dies is started again, a little later each time; one that keeps dying, or says that a person has to
act (exit code 2), is given up with its last line, which ends every run that is followed. What it does stands in
`processes.json`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from chatferry.common.errors import FatalError
from chatferry.operator.folder import Folder, write_atomically, write_secret
from chatferry.operator.processes import MARKER
from chatferry.operator.stack_keeper import StackKeeper

_LOOK_S = 0.2
_TAIL_BYTES = 4096
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.3, 5.0
_CALM_S = 20.0
_MOST_DEATHS = 8
_GRACE_S = 20.0
_FATAL = 2


@dataclass(frozen=True, slots=True)
class Service:
    """One process to keep running. `env` is added to the supervisor's own; `log` takes both of its outputs.

    `after`: a file that must exist before the first start.
    """

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    log: str
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to keep running. `stack_root`: the local stack that belongs to it, None when others run the parts."""

    local: str
    services: tuple[Service, ...]
    stack_root: str | None

    def write(self, file: Path) -> None:
        """Services' environments may hold secrets: mode 600. Raises ConfigurationError."""
        write_secret(file, json.dumps(asdict(self)))

    @classmethod
    def read(cls, file: Path) -> Plan:
        """The plan that `write` wrote."""
        content = json.loads(file.read_text(encoding="utf-8"))
        services = tuple(Service(**{**one, "argv": tuple(one["argv"])}) for one in content.pop("services"))
        return cls(services=services, **content)


def environment_of(service: Service, inherited: Mapping[str, str]) -> dict[str, str]:
    """What is inherited, and the plan's own. A file of the plan takes the place of the same in a variable."""
    replaced = {name.removesuffix("_FILE") for name in service.env if name.endswith("_FILE")}
    return {name: value for name, value in inherited.items() if name not in replaced} | service.env


@dataclass(slots=True)
class Child:
    """A service and its present process."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    deaths: int = 0
    started: float = 0.0
    start_at: float = 0.0
    lines: IO[bytes] | None = None

    def start(self, local: str) -> None:
        """Run it for this folder, in a session of its own."""
        self.lines = self.lines or Path(self.service.log).open("ab")  # noqa: SIM115 - open for as long as the child is
        self.process = subprocess.Popen(
            self.service.argv,
            env=environment_of(self.service, os.environ) | {MARKER: local},
            stdin=subprocess.DEVNULL,
            stdout=self.lines,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.started = time.monotonic()

    def may_start(self, now: float) -> bool:
        """Whether its time has come and what it needs is there."""
        after = self.service.after
        return now >= self.start_at and (after is None or Path(after).exists())

    def count_death(self, now: float) -> None:
        """It is started again a little later each time."""
        self.deaths += 1
        self.start_at = now + min(_FIRST_WAIT_S * 2 ** (self.deaths - 1), _LONGEST_WAIT_S)

    def last_line(self) -> str:
        """What it said last."""
        with Path(self.service.log).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            tail = log.read().decode("utf-8", "replace").strip().splitlines()
        return tail[-1] if tail else "it said nothing"


@dataclass(slots=True)
class Supervisor:
    """`failed`: why something cannot be kept running; what else runs goes on, what dies from then on stays dead."""

    plan: Plan
    folder: Folder
    children: list[Child] = field(default_factory=list)
    stack: StackKeeper | None = None
    failed: str | None = None
    _stop: bool = False
    _told: str = ""
    _silent: bool = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self.children = [Child(service) for service in self.plan.services]
        self.stack = StackKeeper(Path(self.plan.stack_root)) if self.plan.stack_root else None
        try:
            while not self._stop:
                self._look()
                self._tell()
                time.sleep(_LOOK_S)
        finally:
            if not self._stop:
                self.failed = "the supervisor itself has failed; see its log"
            self._end()

    def _on_signal(self, *_: object) -> None:
        self._stop = True

    def _look(self) -> None:
        now = time.monotonic()
        if self.stack is not None:
            self.stack.look(now)
            self.failed = self.failed or self.stack.failed
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._died(child, now)
            elif child.process is None and child.may_start(now) and self.failed is None:
                self._start(child, now)
            elif now - child.started > _CALM_S:
                child.deaths = 0

    def _start(self, child: Child, now: float) -> None:
        again = child.lines is not None
        try:
            child.start(self.plan.local)
        except OSError as cannot:
            # Its log is on a full disk, say: no reason to end the others.
            child.count_death(now)
            if child.deaths >= _MOST_DEATHS:
                self.failed = f"{child.service.name} cannot be started: {cannot.strerror}: {cannot.filename}"
        else:
            child.restarts += again

    def _died(self, child: Child, now: float) -> None:
        code = child.process.returncode if child.process is not None else 0
        child.process = None
        child.count_death(now)
        if code == _FATAL or child.deaths >= _MOST_DEATHS:
            self.failed = f"{child.service.name} cannot be kept running: {child.last_line()}"

    def state(self) -> dict[str, Any]:
        """What `status --json` shows under `processes`."""
        parts, restarts = (self.stack.pids, self.stack.restarts) if self.stack is not None else ({}, {})
        services = [(one.service.name, one.process.pid if one.process else None, one.restarts) for one in self.children]
        every = [*services, *((name, pid, restarts.get(name, 0)) for name, pid in parts.items())]
        return {
            "supervisor": os.getpid(),
            "processes": [{"name": name, "pid": pid, "restarts": times} for name, pid, times in every],
            "stack_restarts": restarts,
            "failed": self.failed,
        }

    def _tell(self) -> None:
        """A state that cannot be written is written when that is possible again; what runs goes on without it."""
        text = json.dumps(self.state())
        if text == self._told:
            return
        try:
            write_atomically(self.folder.processes, text)
        except FatalError as unwritten:
            if not self._told:
                raise  # `chatferry down` would never find what runs
            if not self._silent:
                with suppress(OSError):  # the log may be on the same disk
                    print(f"{unwritten}; the services go on", file=sys.stderr, flush=True)
            self._silent = True
        else:
            self._told, self._silent = text, False

    def _end(self) -> None:
        """Services first, in the order of the data, then what they stand on."""
        living = [child.process for child in self.children if child.process is not None]
        for process in living:
            with suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + _GRACE_S
        for process in living:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in self.children:
            if child.lines is not None:
                child.lines.close()
        if self.stack is not None:
            self.stack.end()
        if self.failed is None:
            self.folder.processes.unlink(missing_ok=True)
            return
        for child in self.children:
            child.process = None
        with suppress(FatalError):
            self._tell()


def main(arguments: Sequence[str]) -> None:
    """Supervise the plan in the given file. The folder's lock was inherited from whoever started this process."""
    plan = Plan.read(Path(arguments[0]))
    Supervisor(plan, Folder(Path(plan.local))).run()


if __name__ == "__main__":
    main(sys.argv[1:])
