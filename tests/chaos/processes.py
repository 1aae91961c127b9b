"""Processes of a project under test: found by what the supervisor and the stack wrote down, ended by pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import psutil

from chatferry.operator.folder import Folder, read_json
from chatferry.operator.processes import supervisor_of
from chatferry.stack.process import command_line

PARTS = ("kafka", "mongodb", "redis")
_GONE_S = 15.0
# The supervisor gives up on a part that dies six times without thirty calm seconds in between, rightly.
_MOST_IN_A_ROW, _CALM_S = 4, 36.0


@dataclass(slots=True)
class Processes:
    """`root`: where the stack of this project lives."""

    folder: Folder
    root: Path

    def failed(self) -> str | None:
        """Why the supervisor gave up, if it did."""
        failed = read_json(self.folder.processes).get("failed")
        return str(failed) if failed else None

    def restarts(self) -> dict[str, int]:
        """How often the supervisor has started each again."""
        state = read_json(self.folder.processes)
        services = {one["name"]: int(one["restarts"]) for one in state.get("processes", ())}
        return {**services, **state.get("stack_restarts", {})}

    def find(self, name: str) -> psutil.Process | None:
        """The living process of a service or a part; None while there is none."""
        pid, marker = self._part(name) if name in PARTS else self._service(name)
        try:
            process = psutil.Process(pid) if pid else None
            if process is None or process.status() == psutil.STATUS_ZOMBIE:
                return None
            return process if any(marker in word for word in command_line(process)) else None
        except psutil.NoSuchProcess:
            return None

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> psutil.Process:
        """Send a signal to one that lives; SIGKILL waits until it is gone."""
        process = self.find(name)
        assert process is not None, f"{name} does not run"
        process.send_signal(number)
        if number == signal.SIGKILL:
            wait_until_gone(process, _GONE_S)
        return process

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """What dies meanwhile stays dead: the supervisor sleeps."""
        supervisor = self._supervisor()
        assert supervisor is not None
        supervisor.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.thaw()

    def thaw(self) -> None:
        """Wake the supervisor, if there is one. Safe to repeat."""
        supervisor = self._supervisor()
        if supervisor is not None:
            with suppress(psutil.NoSuchProcess):
                supervisor.send_signal(signal.SIGCONT)

    def _supervisor(self) -> psutil.Process | None:
        return supervisor_of(self.folder, read_json(self.folder.processes))

    def _service(self, name: str) -> tuple[int | None, str]:
        states = read_json(self.folder.processes).get("processes", ())
        pid = next((one["pid"] for one in states if one["name"] == name), None)
        return pid, "chatferry.simulators.bitrix24" if name == "portal" else f"chatferry.{name}"

    def _part(self, name: str) -> tuple[int | None, str]:
        state = read_json(self.root / "stack" / "state.json").get(name, {})
        process = state.get("process") or {}
        return process.get("pid"), str(self.root / "stack" / name)


@dataclass(slots=True)
class Replicas:
    """More processes of a service beside the supervised one; they end with the block."""

    folder: Folder
    service: str
    living: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _started: int = 0

    def __enter__(self) -> Replicas:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.living.values():
            process.kill()
            process.wait()

    def join(self) -> int:
        """Start one; its number."""
        self._started += 1
        number = self._started
        plan = read_json(self.folder.plan)
        mine = next(one for one in plan["services"] if one["name"] == self.service)
        own = {"CHATFERRY_HTTP_PORT": "0", "CHATFERRY_ADDRESS_FILE": str(self.address(number))}
        with (self.folder.logs / f"{self.service}-{number}.log").open("wb") as log:
            self.living[number] = subprocess.Popen(
                mine["argv"], env={**os.environ, **mine["env"], **own}, stdout=log, stderr=subprocess.STDOUT
            )
        return number

    def leave(self, number: int, how: signal.Signals = signal.SIGTERM, seconds: float = 20) -> int:
        """End one; its exit code."""
        process = self.living.pop(number)
        process.send_signal(how)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{self.service} {number} has not ended {seconds:.0f} s after {how.name}") from None

    def address(self, number: int) -> Path:
        """Where it says its URL."""
        return self.folder.addresses / f"{self.service}-{number}.url"


def wait_until_gone(process: psutil.Process, seconds: float) -> None:
    """Its parent may be asleep: a zombie, whose threads have ended, is gone too."""
    deadline = time.monotonic() + seconds
    while process.is_running():
        with suppress(psutil.NoSuchProcess):
            if process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1:
                return
        assert time.monotonic() < deadline, f"process {process.pid} lives on"
        time.sleep(0.02)


def accepts(address: str) -> bool:
    """Whether somebody takes connections there: `host:port`, or a URL."""
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=1):
            return True
    except OSError:
        return False


@dataclass(slots=True)
class Turns:
    """Who is next: each has its turn, in an order that is drawn anew each time."""

    random: Random
    names: Sequence[str]
    _times: dict[str, list[float]] = field(default_factory=dict)
    _left: list[str] = field(default_factory=list)

    def next(self) -> str:
        """Never one that has died too often in a row: the supervisor would give up on it, and rightly."""
        while True:
            self._left = self._left or self.random.sample(list(self.names), len(self.names))
            name, now = self._left.pop(), time.monotonic()
            times = self._times.setdefault(name, [])
            ends = [*times[1:], now]
            if len(times) < _MOST_IN_A_ROW or max(b - a for a, b in zip(times, ends, strict=True)) >= _CALM_S:
                self._times[name] = [*times, now][-_MOST_IN_A_ROW:]
                return name
