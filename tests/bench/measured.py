"""Running a whole project under measurement: CPU seconds and peak memory of every process, from the kernel."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from chatferry.operator.demo import bootstrap, limits_of
from chatferry.operator.folder import Folder, Project, read_json
from chatferry.operator.launch import Launch, SimulatedPortal, launch
from chatferry.operator.processes import stop
from chatferry.operator.runs import UNDER_WAY, Options, Store
from chatferry.stack import LocalStack

SERVICES = ("extractor", "importer", "verifier", "chat")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds by process since the beginning, and the highest resident memory in MiB."""

    cpu_s: dict[str, float]
    peak_mib: dict[str, float]


@dataclass(slots=True)
class Measured:
    """A running project. `pids` of everything: services, portal, stack parts."""

    folder: Folder
    project: Project
    pids: dict[str, int]
    _cpu_at_start: dict[str, float] = field(default_factory=dict)

    def begin(self) -> None:
        """Count CPU from now on."""
        self._cpu_at_start = {name: _cpu(pid) for name, pid in self.pids.items()}

    def usage(self) -> Usage:
        """What was used since `begin`."""
        cpu = {name: _cpu(pid) - self._cpu_at_start.get(name, 0.0) for name, pid in self.pids.items()}
        return Usage(cpu, {name: _peak_mib(pid) for name, pid in self.pids.items()})

    def control(self) -> str:
        """The portal's control interface."""
        line = (self.folder.logs / "portal.log").read_text(encoding="utf-8").splitlines()[0]
        return str(json.loads(line)["control"])

    def truth(self) -> dict[str, Any]:
        """What the portal itself counted."""
        answer: dict[str, Any] = httpx.get(f"{self.control()}/truth", timeout=30).json()
        return answer

    def migrate(self, family: str, options: Options) -> dict[str, Any]:
        """Run to its end; the run's document and its report."""
        return asyncio.run(self._migrate(family, options))

    async def _migrate(self, family: str, options: Options) -> dict[str, Any]:
        store = Store(self.project)
        try:
            run = await store.ask(family, options)
            while (document := await store.run(run))["state"] in UNDER_WAY:
                if (failed := read_json(self.folder.processes).get("failed")) is not None:
                    raise SystemExit(failed)
                await asyncio.sleep(0.5)
            return {**document, "report": await store.report(run)}
        finally:
            store.close()

    def ask(self, family: str, options: Options) -> None:
        """Ask for a run and do not wait for it."""

        async def ask() -> None:
            store = Store(self.project)
            try:
                await store.ask(family, options)
            finally:
                store.close()

        asyncio.run(ask())


@contextmanager
def measured_project(root: Path, portal: SimulatedPortal, settings: dict[str, str] | None = None) -> Iterator[Measured]:
    """A fresh project on this machine; ended, and its data removed, afterwards."""
    folder = Folder(root)
    lock = folder.take("a bench")
    stack = LocalStack(root, announce=_quiet)
    stack.down()
    for part in ("kafka", "mongodb", "redis"):
        shutil.rmtree(root / "stack" / part, ignore_errors=True)
    addresses = stack.up()
    try:
        asyncio.run(bootstrap(addresses, "bench"))
        limits = limits_of(portal.bucket)
        project = launch(folder, Launch("bench", addresses, portal, {**limits, **(settings or {})}, root), lock, _quiet)
        lock.close()
        yield Measured(folder, project, {**_services(folder), **_parts(stack)})
    finally:
        if not stop(folder):
            stack.down()
        for part in ("kafka", "mongodb", "redis"):
            shutil.rmtree(root / "stack" / part, ignore_errors=True)


def _services(folder: Folder) -> dict[str, int]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        processes = read_json(folder.processes).get("processes", [])
        if processes and all(one["pid"] for one in processes):
            return {one["name"]: one["pid"] for one in processes}
        time.sleep(0.1)
    raise SystemExit("the services did not start")


def _parts(stack: LocalStack) -> dict[str, int]:
    return {part.name: part.pid for part in stack.status() if part.pid is not None}


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _peak_mib(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace"))
    return int(found.group(1)) / 1024 if found else 0.0


def _quiet(_: str) -> None:
    return
